BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,2,'5255a6034ebc1f6a2148459237c93e18','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0008');
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
INSERT INTO "attempts" VALUES('9ju5e08j89taew4j2rse5mu697','xeufgc4sgcex',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','62b26aa0d143eba9484cefa2776e20e474a4a59b6044f1bda58fc195bf8b16f3','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIK+cn7uAHg3PGkT2eYpRmnaImNIF2bnLtLIzz3E1zp5','attested',2,'2026-11-27 10:25:18.161248','2026-11-27 10:25:18.280513','2026-11-27 10:25:19.843419','2026-11-27 10:25:20.112391','2026-11-27 10:25:20.297907','2026-11-27 10:25:20.475600','2026-11-27 10:40:17.879968','2026-11-27 15:37:28.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2,2088,'2026-11-27 11:00:08.475600','outputs/9ju5e08j89taew4j2rse5mu697/2/trees/f8/f8191837637476d6defd6311e331909741a637d9206a8bc6aaef3d8f433822ab',NULL,'{"files": 1, "bytes": 5, "at": "2026-11-27T10:25:20.692298+00:00", "over": true, "complete": true, "note": null}',NULL,NULL);
INSERT INTO "attempts" VALUES('9ju5e0j2dog1qxo1pp3p5x2d9n','lcv8qspwhif6',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','bcb3c95a326581522894c7e99fc8bebc1cbf3888cf236fb9599cf288ca00401e','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMLDfrNUWbL/WU7XOAAAT29oS/IXKuC/qS6LVr2+FIO0','attested',2,'2026-11-27 10:25:23.034005','2026-11-27 10:25:23.054433','2026-11-27 10:25:24.511910','2026-11-27 10:25:24.702624','2026-11-27 10:25:24.867476','2026-11-27 10:25:24.966110','2026-11-27 10:40:23.026604','2026-11-27 16:12:22.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2,0,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('9ju5e0hosq5y2cs0jjg41m1of5','g1t3ntxrew8v',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','0fa0db95826c043c862e4c43294570856ecf7957b61cc7537ffd00e766962639','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMwS00aVyfmyPxsJc4FcfflvGvzVbG5owba4Bk0aSOeu','attested',2,'2026-11-27 10:25:28.418311','2026-11-27 10:25:28.437856','2026-11-27 10:25:29.817558','2026-11-27 10:25:29.936658','2026-11-27 10:25:30.105822',NULL,'2026-11-27 10:40:28.416349','2026-11-27 16:12:27.000000','max_cost',NULL,NULL,NULL,13,NULL,'hrue0i6ym0j5','2026-11-27 10:25:48.072465',2,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE effects (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind VARCHAR(12) NOT NULL, 
	subject TEXT NOT NULL, 
	who VARCHAR(300) NOT NULL, 
	began_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	settled_at DATETIME, 
	outcome VARCHAR(20), 
	CONSTRAINT ck_effects_kind CHECK (kind IN ('upload','account_key','removal')), 
	CONSTRAINT ck_effects_settled_has_outcome CHECK ((settled_at IS NULL) = (outcome IS NULL))
);
INSERT INTO "effects" VALUES(1,'account_key','gpu job runner 20f42357','a-computer (pid 1)','2026-11-27 10:25:18.006962','2026-11-27 10:25:18.006962','2026-11-27 10:25:18.151498','added');
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
INSERT INTO "events" VALUES(1,'xeufgc4sgcex',NULL,'2026-11-27 10:25:17.467009','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'xeufgc4sgcex','9ju5e08j89taew4j2rse5mu697','2026-11-27 10:25:18.161248','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'xeufgc4sgcex','9ju5e08j89taew4j2rse5mu697','2026-11-27 10:25:18.433158','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'xeufgc4sgcex','9ju5e08j89taew4j2rse5mu697','2026-11-27 10:25:20.297907','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'xeufgc4sgcex','9ju5e08j89taew4j2rse5mu697','2026-11-27 10:25:20.475600','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'xeufgc4sgcex','9ju5e08j89taew4j2rse5mu697','2026-11-27 10:25:20.916862','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'lcv8qspwhif6',NULL,'2026-11-27 10:25:22.942702','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'lcv8qspwhif6','9ju5e0j2dog1qxo1pp3p5x2d9n','2026-11-27 10:25:23.034005','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'lcv8qspwhif6','9ju5e0j2dog1qxo1pp3p5x2d9n','2026-11-27 10:25:23.087963','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'lcv8qspwhif6','9ju5e0j2dog1qxo1pp3p5x2d9n','2026-11-27 10:25:24.867476','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'lcv8qspwhif6','9ju5e0j2dog1qxo1pp3p5x2d9n','2026-11-27 10:25:24.966110','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'lcv8qspwhif6','9ju5e0j2dog1qxo1pp3p5x2d9n','2026-11-27 10:25:25.260217','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'g1t3ntxrew8v',NULL,'2026-11-27 10:25:28.375426','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'g1t3ntxrew8v','9ju5e0hosq5y2cs0jjg41m1of5','2026-11-27 10:25:28.418311','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'g1t3ntxrew8v','9ju5e0hosq5y2cs0jjg41m1of5','2026-11-27 10:25:28.460117','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'g1t3ntxrew8v','9ju5e0hosq5y2cs0jjg41m1of5','2026-11-27 10:25:30.105822','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'832o6gaab2no',NULL,'2026-11-27 10:25:33.028218','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'832o6gaab2no',NULL,'2026-11-27 10:25:33.135545','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:32807/api/v1", "salt": "6c85a3893f7dbc841bdf48e888911b0d", "token": "11c21c58af5e1a8eb0c8f6c563912900"}','2026-11-27 10:25:17.085481');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 40, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}], "spot": ["gpu_1x_a5000_spot"]}','2026-11-27 10:25:17.390631');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 10:25:17.425082');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBTs2bLanebXz21ze8X0i09k+DplCyrRkDTTp754rsWp", "names": ["gpu job runner 20f42357"]}','2026-11-27 10:25:18.151498');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'9ju5e0','2026-11-27 10:25:16.450368');
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
INSERT INTO "instances" VALUES(1,'9ju5e08j89taew4j2rse5mu697','xeufgc4sgcex','rn-default-9ju5e08j89taew4j2rse5mu697-tp6524','b1ed1be5-a996-4fe3-a8cd-2a180ecc4916','gone','gpu_1x_l40',860000,0,'2026-11-27 16:13:16.000000','2026-11-27 10:25:18.280513',NULL,'2026-11-27 10:25:19.843419','2026-11-27 10:25:20.793223','127.0.0.1',42163,'Ubuntu','rented',1,'2026-11-27 10:25:20.692298','its outputs are in',1,'2026-11-27 10:26:50.745005','2026-11-27 10:25:20.745005',NULL,'2026-11-27 10:25:20.869755','404');
INSERT INTO "instances" VALUES(2,'9ju5e0j2dog1qxo1pp3p5x2d9n','lcv8qspwhif6','rn-default-9ju5e0j2dog1qxo1pp3p5x2d9n-tp652a','681eced0-e5fd-48f7-8ae9-46f13f437aa3','gone','gpu_1x_l40',860000,0,'2026-11-27 16:13:22.000000','2026-11-27 10:25:23.054433',NULL,'2026-11-27 10:25:24.511910','2026-11-27 10:25:25.119309','127.0.0.1',34677,'Ubuntu','rented',1,'2026-11-27 10:25:24.966110','exit_code',1,'2026-11-27 10:26:55.100566','2026-11-27 10:25:25.100566',NULL,'2026-11-27 10:25:25.201797','404');
INSERT INTO "instances" VALUES(3,'9ju5e0hosq5y2cs0jjg41m1of5','g1t3ntxrew8v','rn-default-9ju5e0hosq5y2cs0jjg41m1of5-tp652f','12229f13-9d40-429d-8c2b-6a8138a5a924','live','gpu_1x_l40',860000,0,'2026-11-27 16:13:27.000000','2026-11-27 10:25:28.437856',NULL,'2026-11-27 10:25:31.463648',NULL,'127.0.0.1',45723,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "jobs" VALUES(1,'xeufgc4sgcex','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 10:25:17.467009','2026-11-27 10:25:20.297907','2026-11-27 10:25:20.916862',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,'["*.txt"]',NULL,0,NULL);
INSERT INTO "jobs" VALUES(2,'lcv8qspwhif6','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 10:25:22.942702','2026-11-27 10:25:24.867476','2026-11-27 10:25:25.260217',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "jobs" VALUES(3,'g1t3ntxrew8v','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','9ju5e0hosq5y2cs0jjg41m1of5',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 10:25:28.375426','2026-11-27 10:25:30.105822',NULL,NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "jobs" VALUES(4,'832o6gaab2no','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40", "gpu_1x_a6000"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 10:25:34.642525',1,'2026-11-27 10:25:33.028218',NULL,NULL,NULL,NULL,1,1,'lost,exit_code','["GREETING"]','gAAAAABrCVqdWBOGEvI-f5VEJCQWMhhLKzFIHNK1lTlPLWYketAtP2Cp3t6sljA1KtXARvFgz2f6DVZHk7UdurFi_nVAEM8ktBpPKOq-YbWn8kSUxzEB_RxHHPyx76mIp6fNcSOou4OqD8YtqD-JfQcE9D5IrcuuFw==',NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'hrue0i6ym0j5','2026-11-27 10:25:48.087098',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('9ju5e08j89taew4j2rse5mu697',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('9ju5e0j2dog1qxo1pp3p5x2d9n',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('9ju5e0hosq5y2cs0jjg41m1of5',0,13,X'69742068617320626567756E0A');
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
INSERT INTO "notifications" VALUES('2pmpl7tls0m47jokd1e6ps19ka','final','xeufgc4sgcex',NULL,'2026-11-27 10:25:20.916862','2026-11-27 10:25:20.916862',0,NULL,'2026-11-27 10:25:20.999768','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('0zheggy45ug6st22kba8g3id1c','final','lcv8qspwhif6',NULL,'2026-11-27 10:25:25.260217','2026-11-27 10:25:25.260217',0,NULL,'2026-11-27 10:25:25.315149','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 10:25:31.501499');
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
INSERT INTO "workers" VALUES('hrue0i6ym0j5','a-computer',1,'0.1.0',1,'2026-11-27 10:25:17.093799','2026-11-27 10:25:33.072465',NULL,2);
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
CREATE INDEX ix_effects_kind_settled_at ON effects (kind, settled_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('effects',1);
COMMIT;
