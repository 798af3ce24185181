BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,1,'265b0261108efd7da6c20d6348132622','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
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
INSERT INTO "attempts" VALUES('nuv1liaoznbdch8mnnwwkl34et','r5xn86rei02k',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','31643f771e1e49d926661ef79a0d4f646c695dd70f317f8698da5445928cf1ba','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILj4R5HTtIdHscDLI7oIAG0WNCP0YbQ3TifGQvn5hEBL','attested',1,'2026-11-27 07:57:38.873360','2026-11-27 07:57:39.570387','2026-11-27 07:57:41.493633','2026-11-27 07:57:43.467626','2026-11-27 07:57:44.134350','2026-11-27 07:57:44.710133','2026-11-27 08:12:38.289845','2026-11-27 13:44:37.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('nuv1litigfdv46iuqg67zem750','incknp7fmdol',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','e0fa4486e6544729f6df1b47e04d82ffbdb82f02a029abe896373b2abc9e1eb8','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK/rwxM5xvPx6gjgk5iCBQICvda9oy7JPD7edG+BtNNx','attested',1,'2026-11-27 07:58:07.980359','2026-11-27 07:58:08.352614','2026-11-27 07:58:09.155777','2026-11-27 07:58:09.775869','2026-11-27 07:58:10.334275','2026-11-27 07:58:10.746324','2026-11-27 08:13:07.907287','2026-11-27 13:45:06.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('nuv1li8c7anu5jj1fmfex0lsh4','qadhm72qsfbe',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','59951f39a067ad5ad56e604514803713cb9b56adb92fed0389e8eab63ef91297','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1cvz1VtuYKTGQT2wmkdX3F9B3rDL65wwYCFZKkvcxm','attested',1,'2026-11-27 07:58:28.889022','2026-11-27 07:58:29.004892','2026-11-27 07:58:31.081363','2026-11-27 07:58:31.634424','2026-11-27 07:58:32.110705',NULL,'2026-11-27 08:13:28.850234','2026-11-27 13:45:27.000000','max_cost',NULL,NULL,NULL,13,NULL,'2itff5q9y0sk','2026-11-27 07:59:29.318565',2);
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
INSERT INTO "events" VALUES(1,'r5xn86rei02k',NULL,'2026-11-27 07:57:35.766103','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'r5xn86rei02k','nuv1liaoznbdch8mnnwwkl34et','2026-11-27 07:57:38.873360','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'r5xn86rei02k','nuv1liaoznbdch8mnnwwkl34et','2026-11-27 07:57:40.472477','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'r5xn86rei02k','nuv1liaoznbdch8mnnwwkl34et','2026-11-27 07:57:44.134350','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'r5xn86rei02k','nuv1liaoznbdch8mnnwwkl34et','2026-11-27 07:57:44.710133','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'r5xn86rei02k','nuv1liaoznbdch8mnnwwkl34et','2026-11-27 07:57:45.833663','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'incknp7fmdol',NULL,'2026-11-27 07:58:07.042236','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'incknp7fmdol','nuv1litigfdv46iuqg67zem750','2026-11-27 07:58:07.980359','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'incknp7fmdol','nuv1litigfdv46iuqg67zem750','2026-11-27 07:58:08.681421','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'incknp7fmdol','nuv1litigfdv46iuqg67zem750','2026-11-27 07:58:10.334275','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'incknp7fmdol','nuv1litigfdv46iuqg67zem750','2026-11-27 07:58:10.746324','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'incknp7fmdol','nuv1litigfdv46iuqg67zem750','2026-11-27 07:58:12.534626','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'qadhm72qsfbe',NULL,'2026-11-27 07:58:28.726495','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'qadhm72qsfbe','nuv1li8c7anu5jj1fmfex0lsh4','2026-11-27 07:58:28.889022','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'qadhm72qsfbe','nuv1li8c7anu5jj1fmfex0lsh4','2026-11-27 07:58:29.082453','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'qadhm72qsfbe','nuv1li8c7anu5jj1fmfex0lsh4','2026-11-27 07:58:32.110705','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'hnficfatpi12',NULL,'2026-11-27 07:58:52.886970','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'hnficfatpi12',NULL,'2026-11-27 07:58:53.653736','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:39871/api/v1", "salt": "41002786044bdfcd638d9cf8f3c67be7", "token": "3a335ae19b1bf7c66938dfbb430ea0ab"}','2026-11-27 07:57:34.785018');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 39, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}]}','2026-11-27 07:58:53.516656');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 07:57:35.717962');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE+wZUmr54ZVy+y4eD/gex1ctVL6VUnTxeWCv6mwga4k", "names": ["gpu job runner 74237cf4"]}','2026-11-27 07:57:38.732224');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'nuv1li','2026-11-27 07:57:33.570956');
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
INSERT INTO "instances" VALUES(1,'nuv1liaoznbdch8mnnwwkl34et','r5xn86rei02k','rn-default-nuv1liaoznbdch8mnnwwkl34et-tp5y81','6964dbb9-03a8-4543-b96d-b9c39a6903e6','gone','gpu_1x_l40',860000,0,'2026-11-27 13:45:37.000000','2026-11-27 07:57:39.570387',NULL,'2026-11-27 07:57:44.872178','2026-11-27 07:57:45.326638','127.0.0.1',36559,'Ubuntu','rented',1,'2026-11-27 07:57:44.710133','exit_code',1,'2026-11-27 07:59:15.058141','2026-11-27 07:57:45.058141',NULL,'2026-11-27 07:57:45.652451','404');
INSERT INTO "instances" VALUES(2,'nuv1litigfdv46iuqg67zem750','incknp7fmdol','rn-default-nuv1litigfdv46iuqg67zem750-tp5y8u','9b45e7cf-60cb-43c5-a056-83266d9dbdfa','gone','gpu_1x_l40',860000,0,'2026-11-27 13:46:06.000000','2026-11-27 07:58:08.352614',NULL,'2026-11-27 07:58:10.569884',NULL,'127.0.0.1',42365,'Ubuntu','rented',1,'2026-11-27 07:58:10.746324','exit_code',1,'2026-11-27 07:59:41.455688','2026-11-27 07:58:11.455688',NULL,'2026-11-27 07:58:11.961726','404');
INSERT INTO "instances" VALUES(3,'nuv1li8c7anu5jj1fmfex0lsh4','qadhm72qsfbe','rn-default-nuv1li8c7anu5jj1fmfex0lsh4-tp5y9f','dfe6b1cf-bbbe-4790-9b8a-afdc37fa72d0','live','gpu_1x_l40',860000,0,'2026-11-27 13:46:27.000000','2026-11-27 07:58:29.004892',NULL,'2026-11-27 07:59:06.055631',NULL,'127.0.0.1',43467,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
	fence BIGINT NOT NULL, retries INTEGER DEFAULT '0' NOT NULL, retry_on VARCHAR(200) DEFAULT 'lost,exit_code' NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (seq), 
	CONSTRAINT ck_jobs_live_has_attempt CHECK ((state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)), 
	CONSTRAINT ck_jobs_final_is_finished CHECK ((state IN ('succeeded','failed','cancelled','expired')) = (finished_at IS NOT NULL)), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued','deploying','booting','running','finishing','succeeded','failed','cancelled','expired')), 
	CONSTRAINT ck_jobs_final_has_reason CHECK (state NOT IN ('succeeded','failed','cancelled','expired') OR reason IS NOT NULL), 
	CONSTRAINT ck_jobs_ceilings CHECK (max_cost > 0 AND max_runtime > 0), 
	CONSTRAINT uq_jobs_id UNIQUE (id), 
	CONSTRAINT uq_jobs_key UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'r5xn86rei02k','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:57:35.766103','2026-11-27 07:57:44.134350','2026-11-27 07:57:45.833663',NULL,NULL,1,0,'lost,exit_code');
INSERT INTO "jobs" VALUES(2,'incknp7fmdol','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:58:07.042236','2026-11-27 07:58:10.334275','2026-11-27 07:58:12.534626',NULL,NULL,1,0,'lost,exit_code');
INSERT INTO "jobs" VALUES(3,'qadhm72qsfbe','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','nuv1li8c7anu5jj1fmfex0lsh4',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:58:28.726495','2026-11-27 07:58:32.110705',NULL,NULL,NULL,1,0,'lost,exit_code');
INSERT INTO "jobs" VALUES(4,'hnficfatpi12','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 07:58:55.421484',1,'2026-11-27 07:58:52.886970',NULL,NULL,NULL,NULL,1,1,'lost,exit_code');
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'2itff5q9y0sk','2026-11-27 07:59:29.266687',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('nuv1liaoznbdch8mnnwwkl34et',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('nuv1litigfdv46iuqg67zem750',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('nuv1li8c7anu5jj1fmfex0lsh4',0,13,X'69742068617320626567756E0A');
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
INSERT INTO "notifications" VALUES('8s7z2zgauvxq9wvpwr3vfc9lsu','final','r5xn86rei02k',NULL,'2026-11-27 07:57:45.833663','2026-11-27 07:57:45.833663',0,NULL,'2026-11-27 07:57:46.370621','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('rhuhr48v0k7i5ngnamaufvtnz7','final','incknp7fmdol',NULL,'2026-11-27 07:58:12.534626','2026-11-27 07:58:12.534626',0,NULL,'2026-11-27 07:58:13.018622','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 07:59:06.074138');
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
INSERT INTO "workers" VALUES('2itff5q9y0sk','a-computer',1,'0.1.0',1,'2026-11-27 07:57:34.817149','2026-11-27 07:59:14.318565',NULL);
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
