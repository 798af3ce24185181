BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
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
INSERT INTO "attempts" VALUES('379izjv41c6irx4zhroqmm91q2','pltp88dmts2o',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','60af8da1fb059b90b7478e5b5273e06eb7c4a9c9184750624299a33d1453abf2','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM/H6p+EAUxyYKW+RtE3YXwNtif1QXwVFxbEHLmsVKSx','attested',1,'2026-11-27 07:44:49.773024','2026-11-27 07:44:50.102250','2026-11-27 07:44:50.524666','2026-11-27 07:44:50.879663','2026-11-27 07:44:51.152215','2026-11-27 07:44:51.421099','2026-11-27 07:59:49.457631','2026-11-27 13:31:48.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('379izjoryjzctlovg2tihuxirb','kyh3c9bxe3p8',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','5c05063b6334c8e608fb0adb26acc6374dd7c08ca69a7641090939f6f55818f5','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHpeYpmpy0pqo4Gs5JX2CQhMdNLkdTX49NubCbKm7IcV','attested',1,'2026-11-27 07:44:59.510538','2026-11-27 07:44:59.586511','2026-11-27 07:45:01.274219','2026-11-27 07:45:01.585379','2026-11-27 07:45:01.791946','2026-11-27 07:45:02.038572','2026-11-27 07:59:59.494382','2026-11-27 13:31:58.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('379izjrzwc0fd6n79ymcjbvkhz','ovf6g0p0uqlz',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','359aaf5c56b3481803cc7dd9d99852b4a9437b1ed5b64fb8db0490e9e51a4d0b','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiz4D6tEVaJ5axiAHB7QGs4Eb7IfePRuv9+v+/m2NLH','attested',1,'2026-11-27 07:45:05.402432','2026-11-27 07:45:05.490587','2026-11-27 07:45:07.181411','2026-11-27 07:45:07.616893','2026-11-27 07:45:07.896255',NULL,'2026-11-27 08:00:05.358636','2026-11-27 13:32:04.000000','max_cost',NULL,NULL,NULL,13,NULL,'py1z415lnyu5','2026-11-27 07:45:36.578778',2);
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
INSERT INTO "events" VALUES(1,'pltp88dmts2o',NULL,'2026-11-27 07:44:48.913884','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'pltp88dmts2o','379izjv41c6irx4zhroqmm91q2','2026-11-27 07:44:49.773024','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'pltp88dmts2o','379izjv41c6irx4zhroqmm91q2','2026-11-27 07:44:50.193000','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'pltp88dmts2o','379izjv41c6irx4zhroqmm91q2','2026-11-27 07:44:51.152215','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'pltp88dmts2o','379izjv41c6irx4zhroqmm91q2','2026-11-27 07:44:51.421099','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'pltp88dmts2o','379izjv41c6irx4zhroqmm91q2','2026-11-27 07:44:53.258032','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'kyh3c9bxe3p8',NULL,'2026-11-27 07:44:59.297836','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'kyh3c9bxe3p8','379izjoryjzctlovg2tihuxirb','2026-11-27 07:44:59.510538','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'kyh3c9bxe3p8','379izjoryjzctlovg2tihuxirb','2026-11-27 07:44:59.637489','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'kyh3c9bxe3p8','379izjoryjzctlovg2tihuxirb','2026-11-27 07:45:01.791946','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'kyh3c9bxe3p8','379izjoryjzctlovg2tihuxirb','2026-11-27 07:45:02.038572','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'kyh3c9bxe3p8','379izjoryjzctlovg2tihuxirb','2026-11-27 07:45:02.607788','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'ovf6g0p0uqlz',NULL,'2026-11-27 07:45:05.240792','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'ovf6g0p0uqlz','379izjrzwc0fd6n79ymcjbvkhz','2026-11-27 07:45:05.402432','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'ovf6g0p0uqlz','379izjrzwc0fd6n79ymcjbvkhz','2026-11-27 07:45:05.560340','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'ovf6g0p0uqlz','379izjrzwc0fd6n79ymcjbvkhz','2026-11-27 07:45:07.896255','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'jrw9ohnl9fg1',NULL,'2026-11-27 07:45:16.358781','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'jrw9ohnl9fg1',NULL,'2026-11-27 07:45:16.544932','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:45357/api/v1", "salt": "08b940aa847c490c1cc0036512b82968", "token": "907800fc7e63499d498202abac69829a"}','2026-11-27 07:44:48.486716');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 40, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}]}','2026-11-27 07:44:48.817036');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 07:44:48.878408');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOITzrbqUfAmXCyn8B23iCTuqpmSHvLyZwK6I+LgjrE/", "names": ["gpu job runner c1601ed5"]}','2026-11-27 07:44:49.735265');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'379izj','2026-11-27 07:44:47.023144');
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
INSERT INTO "instances" VALUES(1,'379izjv41c6irx4zhroqmm91q2','pltp88dmts2o','rn-default-379izjv41c6irx4zhroqmm91q2-tp5xmo','c14cb2ac-c8a4-43c2-8bc6-53ec1d234243','gone','gpu_1x_l40',860000,0,'2026-11-27 13:32:48.000000','2026-11-27 07:44:50.102250',NULL,'2026-11-27 07:44:51.603048','2026-11-27 07:44:53.069284','127.0.0.1',39741,'Ubuntu','rented',1,'2026-11-27 07:44:51.421099','exit_code',1,'2026-11-27 07:46:21.733006','2026-11-27 07:44:51.733006',NULL,'2026-11-27 07:44:53.179795','404');
INSERT INTO "instances" VALUES(2,'379izjoryjzctlovg2tihuxirb','kyh3c9bxe3p8','rn-default-379izjoryjzctlovg2tihuxirb-tp5xmy','aa6ba8d3-26e2-4a5f-a635-c81c5075d7de','gone','gpu_1x_l40',860000,0,'2026-11-27 13:32:58.000000','2026-11-27 07:44:59.586511',NULL,'2026-11-27 07:45:01.274219',NULL,'127.0.0.1',43537,'Ubuntu','rented',1,'2026-11-27 07:45:02.038572','exit_code',1,'2026-11-27 07:46:32.167164','2026-11-27 07:45:02.167164',NULL,'2026-11-27 07:45:02.489429','404');
INSERT INTO "instances" VALUES(3,'379izjrzwc0fd6n79ymcjbvkhz','ovf6g0p0uqlz','rn-default-379izjrzwc0fd6n79ymcjbvkhz-tp5xn4','be61b99d-2785-40f0-84b6-d3baa2edd201','live','gpu_1x_l40',860000,0,'2026-11-27 13:33:04.000000','2026-11-27 07:45:05.490587',NULL,'2026-11-27 07:45:19.207585',NULL,'127.0.0.1',44971,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "jobs" VALUES(1,'pltp88dmts2o','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:44:48.913884','2026-11-27 07:44:51.152215','2026-11-27 07:44:53.258032',NULL,NULL,1);
INSERT INTO "jobs" VALUES(2,'kyh3c9bxe3p8','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:44:59.297836','2026-11-27 07:45:01.791946','2026-11-27 07:45:02.607788',NULL,NULL,1);
INSERT INTO "jobs" VALUES(3,'ovf6g0p0uqlz','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','379izjrzwc0fd6n79ymcjbvkhz',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:45:05.240792','2026-11-27 07:45:07.896255',NULL,NULL,NULL,1);
INSERT INTO "jobs" VALUES(4,'jrw9ohnl9fg1','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 07:45:18.342681',1,'2026-11-27 07:45:16.358781',NULL,NULL,NULL,NULL,1);
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'py1z415lnyu5','2026-11-27 07:45:36.658397',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('379izjv41c6irx4zhroqmm91q2',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('379izjoryjzctlovg2tihuxirb',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('379izjrzwc0fd6n79ymcjbvkhz',0,13,X'69742068617320626567756E0A');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 07:45:19.214263');
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
INSERT INTO "workers" VALUES('py1z415lnyu5','a-computer',1,'0.1.0',1,'2026-11-27 07:44:48.553356','2026-11-27 07:45:21.578778',NULL);
CREATE INDEX ix_jobs_name_seq ON jobs (name, seq);
CREATE INDEX ix_jobs_state_not_before ON jobs (state, not_before);
CREATE INDEX ix_attempts_state ON attempts (state);
CREATE UNIQUE INDEX uq_attempts_one_live ON attempts (job_id) WHERE state != 'ended';
CREATE INDEX ix_events_job_id_id ON events (job_id, id);
CREATE INDEX ix_instances_job_id ON instances (job_id);
CREATE INDEX ix_instances_name ON instances (name);
CREATE INDEX ix_instances_state ON instances (state);
COMMIT;
