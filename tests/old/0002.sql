BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,1,'024ba4b0f42bd014d77966b1a2c9d07e','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
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
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT ck_attempts_end_has_outcome CHECK ((state IN ('finishing','ended')) = (outcome IS NOT NULL)), 
	CONSTRAINT ck_attempts_running_was_ordered CHECK (state != 'running' OR go_ordered_at IS NOT NULL), 
	CONSTRAINT ck_attempts_state CHECK (state IN ('deploying','booting','running','finishing','ended')), 
	CONSTRAINT ck_attempts_ordered_has_deadline CHECK (go_ordered_at IS NULL OR deadline_at IS NOT NULL), 
	CONSTRAINT ck_attempts_log_bytes CHECK (log_bytes >= 0), 
	CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT uq_attempts_job_id_number UNIQUE (job_id, number)
);
INSERT INTO "attempts" VALUES('aou2xyo7u46qy5dunbqh1qpabh','4141522jn76h',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','caf055a0ce0bf353b45e90fd3eedd96647103ca2ab9bdd8e515cb1dc931cc623','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIilF+aIRid18AUjz/NusaYkRB8zFpBeoUwiQTQ391VT','attested',1,'2026-11-27 08:00:26.432199','2026-11-27 08:00:26.558630','2026-11-27 08:00:26.944183','2026-11-27 08:00:27.320896','2026-11-27 08:00:27.551356','2026-11-27 08:00:27.743767','2026-11-27 08:15:26.202021','2026-11-27 13:47:25.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('aou2xyy38tq2aoqfmk4ui3w836','c3v5shkbc9bw',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','cdee81085e92cfbab5641cc70101a829e979e7f5ef3ecaf7be851d8685823b6f','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHW5mdL3FYIewOKcFkDgjRTFZLbG/XVMz3Zs8PsNQ4ju','attested',1,'2026-11-27 08:00:35.785634','2026-11-27 08:00:35.913581','2026-11-27 08:00:37.698196','2026-11-27 08:00:38.265417','2026-11-27 08:00:38.740584','2026-11-27 08:00:39.016108','2026-11-27 08:15:35.714210','2026-11-27 13:47:34.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('aou2xyiw8pu0bx3ibp4xgjrzpx','x3p3xjqpdzpz',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','1fa78440a720ff12a35e115901993c8029e1665260dda71b81baa3a52d0f44b5','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKFLtDTc50f7PVE1wYEs+aY4KdF8MOGkXfef9xsk0h+7','attested',1,'2026-11-27 08:00:46.512997','2026-11-27 08:00:46.602752','2026-11-27 08:00:47.015235','2026-11-27 08:00:47.553544','2026-11-27 08:00:47.807947',NULL,'2026-11-27 08:15:46.492598','2026-11-27 13:47:45.000000','max_cost',NULL,NULL,NULL,13,NULL,'2s6ev2f4k55x','2026-11-27 08:01:14.872113',2);
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
INSERT INTO "events" VALUES(1,'4141522jn76h',NULL,'2026-11-27 08:00:25.084525','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'4141522jn76h','aou2xyo7u46qy5dunbqh1qpabh','2026-11-27 08:00:26.432199','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'4141522jn76h','aou2xyo7u46qy5dunbqh1qpabh','2026-11-27 08:00:26.689096','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'4141522jn76h','aou2xyo7u46qy5dunbqh1qpabh','2026-11-27 08:00:27.551356','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'4141522jn76h','aou2xyo7u46qy5dunbqh1qpabh','2026-11-27 08:00:27.743767','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'4141522jn76h','aou2xyo7u46qy5dunbqh1qpabh','2026-11-27 08:00:28.345460','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'c3v5shkbc9bw',NULL,'2026-11-27 08:00:35.430194','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'c3v5shkbc9bw','aou2xyy38tq2aoqfmk4ui3w836','2026-11-27 08:00:35.785634','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'c3v5shkbc9bw','aou2xyy38tq2aoqfmk4ui3w836','2026-11-27 08:00:35.979390','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'c3v5shkbc9bw','aou2xyy38tq2aoqfmk4ui3w836','2026-11-27 08:00:38.740584','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'c3v5shkbc9bw','aou2xyy38tq2aoqfmk4ui3w836','2026-11-27 08:00:39.016108','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'c3v5shkbc9bw','aou2xyy38tq2aoqfmk4ui3w836','2026-11-27 08:00:39.817854','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'x3p3xjqpdzpz',NULL,'2026-11-27 08:00:46.320051','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'x3p3xjqpdzpz','aou2xyiw8pu0bx3ibp4xgjrzpx','2026-11-27 08:00:46.512997','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'x3p3xjqpdzpz','aou2xyiw8pu0bx3ibp4xgjrzpx','2026-11-27 08:00:46.715779','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'x3p3xjqpdzpz','aou2xyiw8pu0bx3ibp4xgjrzpx','2026-11-27 08:00:47.807947','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'6sf4xv0ismra',NULL,'2026-11-27 08:00:56.951055','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'6sf4xv0ismra',NULL,'2026-11-27 08:00:57.175865','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:40083/api/v1", "salt": "1c604379f04b92a9de4b2b21882e34ef", "token": "a9e8f7e08a3a54cdcd4ee5bd3268f7f9"}','2026-11-27 08:00:24.650329');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 39, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}]}','2026-11-27 08:00:57.152631');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 08:00:25.048429');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHMZoMMURTto4p0XBPZXtRCYzaDOPcuDmA3NTazMKIp9", "names": ["gpu job runner 5044a9e4"]}','2026-11-27 08:00:26.421182');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'aou2xy','2026-11-27 08:00:23.753654');
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
INSERT INTO "instances" VALUES(1,'aou2xyo7u46qy5dunbqh1qpabh','4141522jn76h','rn-default-aou2xyo7u46qy5dunbqh1qpabh-tp5ycp','e2cb5ac5-c7ae-48e0-9850-bb38c6a36e35','gone','gpu_1x_l40',860000,0,'2026-11-27 13:48:25.000000','2026-11-27 08:00:26.558630',NULL,'2026-11-27 08:00:26.944183',NULL,'127.0.0.1',39807,'Ubuntu','rented',1,'2026-11-27 08:00:27.743767','exit_code',1,'2026-11-27 08:01:57.931278','2026-11-27 08:00:27.931278',NULL,'2026-11-27 08:00:28.183904','404');
INSERT INTO "instances" VALUES(2,'aou2xyy38tq2aoqfmk4ui3w836','c3v5shkbc9bw','rn-default-aou2xyy38tq2aoqfmk4ui3w836-tp5ycy','ce92c2dc-5b92-4da2-97ff-fc201973330a','gone','gpu_1x_l40',860000,0,'2026-11-27 13:48:34.000000','2026-11-27 08:00:35.913581',NULL,'2026-11-27 08:00:38.956567','2026-11-27 08:00:39.498160','127.0.0.1',33583,'Ubuntu','rented',1,'2026-11-27 08:00:39.016108','exit_code',1,'2026-11-27 08:02:09.252899','2026-11-27 08:00:39.252899',NULL,'2026-11-27 08:00:39.661175','404');
INSERT INTO "instances" VALUES(3,'aou2xyiw8pu0bx3ibp4xgjrzpx','x3p3xjqpdzpz','rn-default-aou2xyiw8pu0bx3ibp4xgjrzpx-tp5yd9','716331b8-4088-43df-a214-1cf7d0e8f7e8','live','gpu_1x_l40',860000,0,'2026-11-27 13:48:45.000000','2026-11-27 08:00:46.602752',NULL,'2026-11-27 08:00:58.713283',NULL,'127.0.0.1',37749,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (seq), 
	CONSTRAINT ck_jobs_live_has_attempt CHECK ((state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)), 
	CONSTRAINT ck_jobs_final_is_finished CHECK ((state IN ('succeeded','failed','cancelled','expired')) = (finished_at IS NOT NULL)), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued','deploying','booting','running','finishing','succeeded','failed','cancelled','expired')), 
	CONSTRAINT ck_jobs_final_has_reason CHECK (state NOT IN ('succeeded','failed','cancelled','expired') OR reason IS NOT NULL), 
	CONSTRAINT ck_jobs_ceilings CHECK (max_cost > 0 AND max_runtime > 0), 
	CONSTRAINT uq_jobs_id UNIQUE (id), 
	CONSTRAINT uq_jobs_key UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'4141522jn76h','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:00:25.084525','2026-11-27 08:00:27.551356','2026-11-27 08:00:28.345460',NULL,NULL,1);
INSERT INTO "jobs" VALUES(2,'c3v5shkbc9bw','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:00:35.430194','2026-11-27 08:00:38.740584','2026-11-27 08:00:39.817854',NULL,NULL,1);
INSERT INTO "jobs" VALUES(3,'x3p3xjqpdzpz','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','aou2xyiw8pu0bx3ibp4xgjrzpx',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:00:46.320051','2026-11-27 08:00:47.807947',NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(4,'6sf4xv0ismra','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 08:00:59.019824',1,'2026-11-27 08:00:56.951055',NULL,NULL,NULL,NULL,1);
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'2s6ev2f4k55x','2026-11-27 08:01:13.620929',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('aou2xyo7u46qy5dunbqh1qpabh',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('aou2xyy38tq2aoqfmk4ui3w836',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('aou2xyiw8pu0bx3ibp4xgjrzpx',0,13,X'69742068617320626567756E0A');
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
INSERT INTO "notifications" VALUES('30im5nery1snh8isxtht9gnubh','final','4141522jn76h',NULL,'2026-11-27 08:00:28.345460','2026-11-27 08:00:28.345460',0,NULL,'2026-11-27 08:00:28.591358','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('lf978afc17g5r2cekt8giz83c2','final','c3v5shkbc9bw',NULL,'2026-11-27 08:00:39.817854','2026-11-27 08:00:39.817854',0,NULL,'2026-11-27 08:00:40.012053','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 08:00:58.727262');
CREATE TABLE workers (
	id VARCHAR(64) NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	pid INTEGER NOT NULL, 
	version VARCHAR(40) NOT NULL, 
	seats INTEGER NOT NULL, 
	started_at DATETIME NOT NULL, 
	heartbeat_at DATETIME NOT NULL, 
	note TEXT, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
INSERT INTO "workers" VALUES('2s6ev2f4k55x','a-computer',1,'0.1.0',1,'2026-11-27 08:00:24.665484','2026-11-27 08:00:59.872113',NULL);
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
