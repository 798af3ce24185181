BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,2,'83d8be20522cb8df7df662851566c712','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
CREATE TABLE attempts (
	id VARCHAR(26) NOT NULL, 
	job_id VARCHAR(26) NOT NULL, 
	number INTEGER, 
	state VARCHAR(12) NOT NULL, 
	outcome VARCHAR(30), 
	detail TEXT, 
	retryable BOOLEAN NOT NULL, 
	exit_code INTEGER, 
	product VARCHAR(100) NOT NULL, 
	image_id BIGINT NOT NULL, 
	key_fields VARCHAR(40) NOT NULL, 
	attestation_key VARCHAR(64) NOT NULL, 
	host_key TEXT, 
	host_key_check VARCHAR(12), 
	protocol INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	deploy_ordered_at DATETIME, 
	ready_at DATETIME, 
	go_ordered_at DATETIME, 
	started_at DATETIME, 
	ended_at DATETIME, 
	boot_deadline_at DATETIME NOT NULL, 
	deadline_at DATETIME, 
	deadline_cause VARCHAR(12), 
	stop_cause VARCHAR(30), 
	stop_ordered_at DATETIME, 
	unreachable_since DATETIME, 
	log_bytes BIGINT NOT NULL, 
	log_end TEXT, 
	lease_owner VARCHAR(64), 
	lease_until DATETIME, 
	fence BIGINT NOT NULL, outputs_seconds BIGINT DEFAULT '0' NOT NULL, outputs_until DATETIME, outputs VARCHAR(200), outputs_part VARCHAR(200), outputs_state JSON, transfer JSON, guard JSON, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT ck_attempts_end_has_outcome CHECK ((state IN ('finishing','ended')) = (outcome IS NOT NULL)), 
	CONSTRAINT ck_attempts_running_was_ordered CHECK (state != 'running' OR go_ordered_at IS NOT NULL), 
	CONSTRAINT ck_attempts_state CHECK (state IN ('deploying','booting','running','finishing','ended')), 
	CONSTRAINT ck_attempts_ordered_has_deadline CHECK (go_ordered_at IS NULL OR deadline_at IS NOT NULL), 
	CONSTRAINT ck_attempts_log_bytes CHECK (log_bytes >= 0), 
	CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT uq_attempts_job_id_number UNIQUE (job_id, number)
);
INSERT INTO "attempts" VALUES('e9xo0zy2z93213td0758crheq3','qfyy8wwyyj3m',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','85c9c3451698617cfedbbfda6c9f64070d7fef192149de44bf099db97b617430','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1G59Chv1L6NvfO+zMb/70903Nz2kV8MhidKuWT8ZL3','attested',2,'2026-11-27 08:21:02.921112','2026-11-27 08:21:03.001231','2026-11-27 08:21:04.605215','2026-11-27 08:21:04.802606','2026-11-27 08:21:04.949586','2026-11-27 08:21:05.133073','2026-11-27 08:36:02.735276','2026-11-27 13:33:13.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2,2088,'2026-11-27 08:55:53.133073','outputs/e9xo0zy2z93213td0758crheq3/2/trees/58/58a4d7a45bd9d5dd2fc89ddf0076c715ff89f151fde6bb0fad416c93a5ccefdb',NULL,'{"files": 1, "bytes": 5, "at": "2026-11-27T08:21:05.379499+00:00", "over": true, "complete": true, "note": null}',NULL,NULL);
INSERT INTO "attempts" VALUES('e9xo0zkxkwyda9cwgozswesctx','l3khu9f1wsuz',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','b6415a874b4f4aec26bcf1966148da07030f50ca7469ffd75dba2096f82d277a','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMt6dFuY0Zlfc+O+7+zvUQz+FN/GIcmnWKHj+iszCcvb','attested',2,'2026-11-27 08:21:07.376771','2026-11-27 08:21:07.402113','2026-11-27 08:21:08.875867','2026-11-27 08:21:09.058495','2026-11-27 08:21:09.206896','2026-11-27 08:21:09.385664','2026-11-27 08:36:07.366955','2026-11-27 14:08:06.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('e9xo0z2hzt8hqhlmdwof1qznpj','pxoas2pbmwfe',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','19210fe5b41ef5ff1b71caa08cb27f1fa49f4ef736651cdbbb31c80b1cb19a93','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMNt3r8GNv8YcV7H/gsjS+BEX2zFUGMLiaMD5xp9Ebo/','attested',2,'2026-11-27 08:21:11.213652','2026-11-27 08:21:11.243129','2026-11-27 08:21:12.448355','2026-11-27 08:21:12.569697','2026-11-27 08:21:12.701370',NULL,'2026-11-27 08:36:11.211837','2026-11-27 14:08:10.000000','max_cost',NULL,NULL,NULL,13,NULL,'0y4elq5wcwvt','2026-11-27 08:21:38.197758',2,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	job_id VARCHAR(26) NOT NULL, 
	attempt_id VARCHAR(26), 
	at DATETIME NOT NULL, 
	event VARCHAR(40) NOT NULL, 
	from_state VARCHAR(12), 
	to_state VARCHAR(12) NOT NULL, 
	reason VARCHAR(30), 
	detail TEXT, 
	who VARCHAR(12) NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (id), 
	CONSTRAINT fk_events_job_id FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "events" VALUES(1,'qfyy8wwyyj3m',NULL,'2026-11-27 08:21:01.686236','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'qfyy8wwyyj3m','e9xo0zy2z93213td0758crheq3','2026-11-27 08:21:02.921112','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'qfyy8wwyyj3m','e9xo0zy2z93213td0758crheq3','2026-11-27 08:21:03.079977','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'qfyy8wwyyj3m','e9xo0zy2z93213td0758crheq3','2026-11-27 08:21:04.949586','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'qfyy8wwyyj3m','e9xo0zy2z93213td0758crheq3','2026-11-27 08:21:05.133073','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'qfyy8wwyyj3m','e9xo0zy2z93213td0758crheq3','2026-11-27 08:21:05.585220','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'l3khu9f1wsuz',NULL,'2026-11-27 08:21:07.253366','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'l3khu9f1wsuz','e9xo0zkxkwyda9cwgozswesctx','2026-11-27 08:21:07.376771','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'l3khu9f1wsuz','e9xo0zkxkwyda9cwgozswesctx','2026-11-27 08:21:07.427871','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'l3khu9f1wsuz','e9xo0zkxkwyda9cwgozswesctx','2026-11-27 08:21:09.206896','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'l3khu9f1wsuz','e9xo0zkxkwyda9cwgozswesctx','2026-11-27 08:21:09.385664','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'l3khu9f1wsuz','e9xo0zkxkwyda9cwgozswesctx','2026-11-27 08:21:09.589129','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'pxoas2pbmwfe',NULL,'2026-11-27 08:21:11.095276','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'pxoas2pbmwfe','e9xo0z2hzt8hqhlmdwof1qznpj','2026-11-27 08:21:11.213652','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'pxoas2pbmwfe','e9xo0z2hzt8hqhlmdwof1qznpj','2026-11-27 08:21:11.263412','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'pxoas2pbmwfe','e9xo0z2hzt8hqhlmdwof1qznpj','2026-11-27 08:21:12.701370','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'mnv0trd8lbv7',NULL,'2026-11-27 08:21:18.432456','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'mnv0trd8lbv7',NULL,'2026-11-27 08:21:18.562644','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:42421/api/v1", "salt": "42f1b1d4c6a15fab8fdd5db116981a72", "token": "900da4551623663e27084047234c17a0"}','2026-11-27 08:21:01.282422');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 40, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}], "spot": ["gpu_1x_a5000_spot"]}','2026-11-27 08:21:01.528556');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 08:21:01.572622');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICLdiUJhJnYFJmB5Zcxd9CU2MmcJmYpAJibGAFNR2y4x", "names": ["gpu job runner d1103299"]}','2026-11-27 08:21:02.911610');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'e9xo0z','2026-11-27 08:21:00.747555');
CREATE TABLE instances (
	id INTEGER NOT NULL, 
	attempt_id VARCHAR(26), 
	job_id VARCHAR(26), 
	name VARCHAR(63) NOT NULL, 
	uuid TEXT, 
	state VARCHAR(12) NOT NULL, 
	product TEXT, 
	price BIGINT, 
	minimum_minutes INTEGER NOT NULL, 
	expires_at DATETIME NOT NULL, 
	requested_at DATETIME, 
	unknown_at DATETIME, 
	seen_at DATETIME, 
	missing_since DATETIME, 
	host TEXT, 
	port INTEGER, 
	username TEXT, 
	status TEXT, 
	ready BOOLEAN NOT NULL, 
	doomed_at DATETIME, 
	doomed_why TEXT, 
	terminate_tries INTEGER NOT NULL, 
	terminate_next_at DATETIME, 
	terminate_accepted_at DATETIME, 
	terminate_error TEXT, 
	gone_at DATETIME, 
	gone_proof VARCHAR(20), 
	CONSTRAINT pk_instances PRIMARY KEY (id), 
	CONSTRAINT ck_instances_gone_at CHECK ((state = 'gone') = (gone_at IS NOT NULL)), 
	CONSTRAINT ck_instances_doomed_at CHECK (state != 'doomed' OR doomed_at IS NOT NULL), 
	CONSTRAINT ck_instances_doom_is_one_way CHECK (doomed_at IS NULL OR state IN ('doomed','gone')), 
	CONSTRAINT ck_instances_only_doomed_end CHECK (terminate_accepted_at IS NULL OR doomed_at IS NOT NULL), 
	CONSTRAINT ck_instances_state CHECK (state IN ('intended','refused','unknown','absent','live','warm','doomed','gone')), 
	CONSTRAINT ck_instances_rented_has_uuid CHECK (state NOT IN ('live','warm','doomed') OR uuid IS NOT NULL), 
	CONSTRAINT fk_instances_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id), 
	CONSTRAINT fk_instances_job_id FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT uq_instances_attempt_id UNIQUE (attempt_id), 
	CONSTRAINT uq_instances_uuid UNIQUE (uuid)
);
INSERT INTO "instances" VALUES(1,'e9xo0zy2z93213td0758crheq3','qfyy8wwyyj3m','rn-default-e9xo0zy2z93213td0758crheq3-tp5zb1','9699ba7c-2fe5-4783-9c83-87920eef4f28','gone','gpu_1x_l40',860000,0,'2026-11-27 14:09:01.000000','2026-11-27 08:21:03.001231',NULL,'2026-11-27 08:21:04.605215','2026-11-27 08:21:05.480576','127.0.0.1',45259,'Ubuntu','rented',1,'2026-11-27 08:21:05.379499','its outputs are in',1,'2026-11-27 08:22:35.455059','2026-11-27 08:21:05.455059',NULL,'2026-11-27 08:21:05.552637','404');
INSERT INTO "instances" VALUES(2,'e9xo0zkxkwyda9cwgozswesctx','l3khu9f1wsuz','rn-default-e9xo0zkxkwyda9cwgozswesctx-tp5zb6','52ca0591-989a-4b18-b368-c3bd9ce46cca','gone','gpu_1x_l40',860000,0,'2026-11-27 14:09:06.000000','2026-11-27 08:21:07.402113',NULL,'2026-11-27 08:21:08.875867','2026-11-27 08:21:09.453029','127.0.0.1',36563,'Ubuntu','rented',1,'2026-11-27 08:21:09.385664','exit_code',1,'2026-11-27 08:22:39.437492','2026-11-27 08:21:09.437492',NULL,'2026-11-27 08:21:09.551138','404');
INSERT INTO "instances" VALUES(3,'e9xo0z2hzt8hqhlmdwof1qznpj','pxoas2pbmwfe','rn-default-e9xo0z2hzt8hqhlmdwof1qznpj-tp5zba','3f921321-f16d-40a3-9ed4-d3371b92305f','live','gpu_1x_l40',860000,0,'2026-11-27 14:09:10.000000','2026-11-27 08:21:11.243129',NULL,'2026-11-27 08:21:13.994473',NULL,'127.0.0.1',39657,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE jobs (
	seq INTEGER NOT NULL, 
	id VARCHAR(26) NOT NULL, 
	name VARCHAR(100), 
	"key" VARCHAR(200), 
	command JSON NOT NULL, 
	products JSON NOT NULL, 
	image VARCHAR(200) NOT NULL, 
	env JSON NOT NULL, 
	max_cost BIGINT NOT NULL, 
	max_cost_source TEXT NOT NULL, 
	max_runtime BIGINT NOT NULL, 
	max_runtime_source TEXT NOT NULL, 
	state VARCHAR(12) NOT NULL, 
	reason VARCHAR(30), 
	detail TEXT, 
	attempt_id VARCHAR(26), 
	exit_code INTEGER, 
	cancel_requested_at DATETIME, 
	not_before DATETIME NOT NULL, 
	waits INTEGER NOT NULL, 
	submitted_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	lease_owner VARCHAR(64), 
	lease_until DATETIME, 
	fence BIGINT NOT NULL, retries INTEGER DEFAULT '0' NOT NULL, retry_on VARCHAR(200) DEFAULT 'lost,exit_code' NOT NULL, secret_names JSON, secrets TEXT CONSTRAINT ck_jobs_final_has_no_secrets CHECK (secrets IS NULL OR state NOT IN ('succeeded','failed','cancelled','expired')), workdir VARCHAR(200), workdir_files INTEGER, workdir_bytes BIGINT, setup TEXT, outputs JSON, sync_every BIGINT, cheapest BOOLEAN DEFAULT 0 NOT NULL, passed_over JSON, 
	CONSTRAINT pk_jobs PRIMARY KEY (seq), 
	CONSTRAINT ck_jobs_live_has_attempt CHECK ((state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)), 
	CONSTRAINT ck_jobs_final_is_finished CHECK ((state IN ('succeeded','failed','cancelled','expired')) = (finished_at IS NOT NULL)), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued','deploying','booting','running','finishing','succeeded','failed','cancelled','expired')), 
	CONSTRAINT ck_jobs_final_has_reason CHECK (state NOT IN ('succeeded','failed','cancelled','expired') OR reason IS NOT NULL), 
	CONSTRAINT ck_jobs_ceilings CHECK (max_cost > 0 AND max_runtime > 0), 
	CONSTRAINT uq_jobs_id UNIQUE (id), 
	CONSTRAINT uq_jobs_key UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'qfyy8wwyyj3m','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:21:01.686236','2026-11-27 08:21:04.949586','2026-11-27 08:21:05.585220',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,'["*.txt"]',NULL,0,NULL);
INSERT INTO "jobs" VALUES(2,'l3khu9f1wsuz','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:21:07.253366','2026-11-27 08:21:09.206896','2026-11-27 08:21:09.589129',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "jobs" VALUES(3,'pxoas2pbmwfe','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','e9xo0z2hzt8hqhlmdwof1qznpj',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:21:11.095276','2026-11-27 08:21:12.701370',NULL,NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "jobs" VALUES(4,'mnv0trd8lbv7','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40", "gpu_1x_a6000"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 08:21:19.578816',1,'2026-11-27 08:21:18.432456',NULL,NULL,NULL,NULL,1,1,'lost,exit_code','["GREETING"]','gAAAAABrCT1-1_iURKGPa1BQTe2s03etwiPTWLnf_lKYFic2Y24VNR85qHYjwPnZfpcFgkBcUfXJHfFwLfy-U-GCB11-O8hu4ZhCx314b9s3LHEH79hweKTSuqcPshw-XSybp4F0noPbuvmqJBSLAKSr44Vs0BIj1w==',NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'0y4elq5wcwvt','2026-11-27 08:21:38.206444',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('e9xo0zy2z93213td0758crheq3',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('e9xo0zkxkwyda9cwgozswesctx',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('e9xo0z2hzt8hqhlmdwof1qznpj',0,13,X'69742068617320626567756E0A');
CREATE TABLE notifications (
	id VARCHAR(26) NOT NULL, 
	event VARCHAR(10) NOT NULL, 
	job_id VARCHAR(26), 
	instance_id INTEGER, 
	created_at DATETIME NOT NULL, 
	next_at DATETIME NOT NULL, 
	tries INTEGER NOT NULL, 
	sent_at DATETIME, 
	given_up_at DATETIME, 
	error TEXT, 
	CONSTRAINT pk_notifications PRIMARY KEY (id), 
	CONSTRAINT ck_notifications_event CHECK (event IN ('final','leak')), 
	CONSTRAINT ck_notifications_subject CHECK ((event = 'final') = (instance_id IS NULL)), 
	CONSTRAINT ck_notifications_one_end CHECK (sent_at IS NULL OR given_up_at IS NULL), 
	CONSTRAINT fk_notifications_instance_id FOREIGN KEY(instance_id) REFERENCES instances (id), 
	CONSTRAINT fk_notifications_job_id FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "notifications" VALUES('1r36us7381sf8dg59i9s9drul7','final','qfyy8wwyyj3m',NULL,'2026-11-27 08:21:05.585220','2026-11-27 08:21:05.585220',0,NULL,'2026-11-27 08:21:05.633935','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('1hao7m4974f2v19zx5uil1dw45','final','l3khu9f1wsuz',NULL,'2026-11-27 08:21:09.589129','2026-11-27 08:21:09.589129',0,NULL,'2026-11-27 08:21:09.637992','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 08:21:14.032952');
CREATE TABLE workers (
	id VARCHAR(64) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	version VARCHAR(40) NOT NULL, 
	seats INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	heartbeat_at DATETIME NOT NULL, 
	note TEXT, code INTEGER DEFAULT '1' NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
INSERT INTO "workers" VALUES('0y4elq5wcwvt','a-computer',1,'0.1.0',1,'2026-11-27 08:21:01.299814','2026-11-27 08:21:23.197758',NULL,2);
CREATE INDEX ix_jobs_name_seq ON jobs (name, seq);
CREATE INDEX ix_jobs_state_not_before ON jobs (state, not_before);
CREATE INDEX ix_attempts_state ON attempts (state);
CREATE UNIQUE INDEX uq_attempts_one_live ON attempts (job_id) WHERE state != 'ended';
CREATE INDEX ix_events_job_id_id ON events (job_id, id);
CREATE INDEX ix_instances_job_id ON instances (job_id);
CREATE INDEX ix_instances_name ON instances (name);
CREATE INDEX ix_instances_state ON instances (state);
CREATE UNIQUE INDEX uq_notifications_final ON notifications (job_id) WHERE event = 'final';
CREATE UNIQUE INDEX uq_notifications_leak ON notifications (instance_id) WHERE event = 'leak';
CREATE INDEX ix_notifications_waiting ON notifications (next_at) WHERE sent_at IS NULL AND given_up_at IS NULL;
COMMIT;
