BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,2,'b0de2d93d7ea9fa77e1912a101c13fcc','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
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
	fence BIGINT NOT NULL, outputs_seconds BIGINT DEFAULT '0' NOT NULL, outputs_until DATETIME, outputs VARCHAR(200), outputs_part VARCHAR(200), outputs_state JSON, transfer JSON, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT ck_attempts_end_has_outcome CHECK ((state IN ('finishing','ended')) = (outcome IS NOT NULL)), 
	CONSTRAINT ck_attempts_running_was_ordered CHECK (state != 'running' OR go_ordered_at IS NOT NULL), 
	CONSTRAINT ck_attempts_state CHECK (state IN ('deploying','booting','running','finishing','ended')), 
	CONSTRAINT ck_attempts_ordered_has_deadline CHECK (go_ordered_at IS NULL OR deadline_at IS NOT NULL), 
	CONSTRAINT ck_attempts_log_bytes CHECK (log_bytes >= 0), 
	CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT uq_attempts_job_id_number UNIQUE (job_id, number)
);
INSERT INTO "attempts" VALUES('7h6vevn2pf7a9zgp19gs7lkfwg','q8hzbhsvz646',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','3b3d20f7e1c63f0e73f119413cf3455636521ddf3dbb1faf20ebc6ea2c9c9a98','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDmgLkYEquIElPBXpn/xwRyk0c//iTB3M07vBsM+GEPT','attested',2,'2026-11-27 08:14:04.203899','2026-11-27 08:14:04.361198','2026-11-27 08:14:06.355286','2026-11-27 08:14:06.906522','2026-11-27 08:14:07.096607','2026-11-27 08:14:07.291290','2026-11-27 08:29:03.873617','2026-11-27 13:26:14.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2,2088,'2026-11-27 08:48:55.291290','outputs/7h6vevn2pf7a9zgp19gs7lkfwg/2/trees/54/540c01a6a4d8fd58b4940dcf3e032340f83bae0bb5cefc117eaa8b2443f4167e',NULL,'{"files": 1, "bytes": 5, "at": "2026-11-27T08:14:07.643736+00:00", "over": true, "complete": true, "note": null}',NULL);
INSERT INTO "attempts" VALUES('7h6vevrsv0b407kln05wny2jcy','eldabla8wmw9',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','62eb1626047254a950e3fa015037594860721b43bafcafda82675d3752fceeca','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID7UcVpD2Qc2mRyPo6zZsphc1HBaFnC8y+0o+qg2v6MJ','attested',2,'2026-11-27 08:14:10.999108','2026-11-27 08:14:11.076183','2026-11-27 08:14:12.597346','2026-11-27 08:14:12.796518','2026-11-27 08:14:12.989425','2026-11-27 08:14:13.173694','2026-11-27 08:29:10.960951','2026-11-27 14:01:09.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('7h6vevrfev2fl5lh24ckz5415v','ya77em4cdyho',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','c2956966c53fc7e74ab705a8afd4dabf66b516a4a7e67316db459b5bdc7899fb','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIy8KsV6GNRdjbpko9JN52sLng3qHbrDHGFQ7QD6z+zh','attested',2,'2026-11-27 08:14:16.637447','2026-11-27 08:14:16.675917','2026-11-27 08:14:16.945839','2026-11-27 08:14:17.187249','2026-11-27 08:14:17.355384',NULL,'2026-11-27 08:29:16.629001','2026-11-27 14:01:15.000000','max_cost',NULL,NULL,NULL,13,NULL,'67bjx8s5zvgg','2026-11-27 08:14:40.291538',2,0,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "events" VALUES(1,'q8hzbhsvz646',NULL,'2026-11-27 08:14:02.041969','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'q8hzbhsvz646','7h6vevn2pf7a9zgp19gs7lkfwg','2026-11-27 08:14:04.203899','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'q8hzbhsvz646','7h6vevn2pf7a9zgp19gs7lkfwg','2026-11-27 08:14:04.518894','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'q8hzbhsvz646','7h6vevn2pf7a9zgp19gs7lkfwg','2026-11-27 08:14:07.096607','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'q8hzbhsvz646','7h6vevn2pf7a9zgp19gs7lkfwg','2026-11-27 08:14:07.291290','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'q8hzbhsvz646','7h6vevn2pf7a9zgp19gs7lkfwg','2026-11-27 08:14:07.962355','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'eldabla8wmw9',NULL,'2026-11-27 08:14:10.845923','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'eldabla8wmw9','7h6vevrsv0b407kln05wny2jcy','2026-11-27 08:14:10.999108','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'eldabla8wmw9','7h6vevrsv0b407kln05wny2jcy','2026-11-27 08:14:11.135823','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'eldabla8wmw9','7h6vevrsv0b407kln05wny2jcy','2026-11-27 08:14:12.989425','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'eldabla8wmw9','7h6vevrsv0b407kln05wny2jcy','2026-11-27 08:14:13.173694','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'eldabla8wmw9','7h6vevrsv0b407kln05wny2jcy','2026-11-27 08:14:13.425066','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'ya77em4cdyho',NULL,'2026-11-27 08:14:16.494071','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'ya77em4cdyho','7h6vevrfev2fl5lh24ckz5415v','2026-11-27 08:14:16.637447','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'ya77em4cdyho','7h6vevrfev2fl5lh24ckz5415v','2026-11-27 08:14:16.762857','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'ya77em4cdyho','7h6vevrfev2fl5lh24ckz5415v','2026-11-27 08:14:17.355384','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'5bzmyesymuoy',NULL,'2026-11-27 08:14:22.772880','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'5bzmyesymuoy',NULL,'2026-11-27 08:14:22.922339','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:45875/api/v1", "salt": "16e39d70074b82cb193b0e1ae258850b", "token": "443087d9ddc5b5e6bc410fd4c40799b4"}','2026-11-27 08:14:01.820946');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 40, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}], "spot": ["gpu_1x_a5000_spot"]}','2026-11-27 08:14:01.907649');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 08:14:01.945601');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK6szRoknoWNgLGJ9KtsnYQC+rOeldd02WOJ1iKQdsSr", "names": ["gpu job runner 8d2977ce"]}','2026-11-27 08:14:04.110225');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'7h6vev','2026-11-27 08:14:00.689737');
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
INSERT INTO "instances" VALUES(1,'7h6vevn2pf7a9zgp19gs7lkfwg','q8hzbhsvz646','rn-default-7h6vevn2pf7a9zgp19gs7lkfwg-tp5yze','95788931-d8f0-4745-b9d6-55fc03fddd7b','gone','gpu_1x_l40',860000,0,'2026-11-27 14:02:02.000000','2026-11-27 08:14:04.361198',NULL,'2026-11-27 08:14:07.261902',NULL,'127.0.0.1',42325,'Ubuntu','rented',1,'2026-11-27 08:14:07.643736','its outputs are in',1,'2026-11-27 08:15:37.788810','2026-11-27 08:14:07.788810',NULL,'2026-11-27 08:14:07.916945','404');
INSERT INTO "instances" VALUES(2,'7h6vevrsv0b407kln05wny2jcy','eldabla8wmw9','rn-default-7h6vevrsv0b407kln05wny2jcy-tp5yzl','d94e0835-cf64-487f-b30e-974401eb950c','gone','gpu_1x_l40',860000,0,'2026-11-27 14:02:09.000000','2026-11-27 08:14:11.076183',NULL,'2026-11-27 08:14:12.597346','2026-11-27 08:14:13.307400','127.0.0.1',41629,'Ubuntu','rented',1,'2026-11-27 08:14:13.173694','exit_code',1,'2026-11-27 08:15:43.275686','2026-11-27 08:14:13.275686',NULL,'2026-11-27 08:14:13.393966','404');
INSERT INTO "instances" VALUES(3,'7h6vevrfev2fl5lh24ckz5415v','ya77em4cdyho','rn-default-7h6vevrfev2fl5lh24ckz5415v-tp5yzr','516237d8-81ea-41e1-a17a-ab7730b11a72','live','gpu_1x_l40',860000,0,'2026-11-27 14:02:15.000000','2026-11-27 08:14:16.675917',NULL,'2026-11-27 08:14:18.806909',NULL,'127.0.0.1',35431,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "jobs" VALUES(1,'q8hzbhsvz646','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:14:02.041969','2026-11-27 08:14:07.096607','2026-11-27 08:14:07.962355',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,'["*.txt"]',NULL,0,NULL);
INSERT INTO "jobs" VALUES(2,'eldabla8wmw9','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:14:10.845923','2026-11-27 08:14:12.989425','2026-11-27 08:14:13.425066',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "jobs" VALUES(3,'ya77em4cdyho','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','7h6vevrfev2fl5lh24ckz5415v',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 08:14:16.494071','2026-11-27 08:14:17.355384',NULL,NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
INSERT INTO "jobs" VALUES(4,'5bzmyesymuoy','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40", "gpu_1x_a6000"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 08:14:24.911878',1,'2026-11-27 08:14:22.772880',NULL,NULL,NULL,NULL,1,1,'lost,exit_code','["GREETING"]','gAAAAABrCTvea9vGHvxWvk-7B4M3IJLC2W_VpM8aKji1PvNrBZ5zFMoAISYpXEMHYQXZx1GBcpAcLhT0hpuQ2f-1ufB4RU4pXofXrHopdipmIReDYcnhg0QBsUep4Abl83spniw2am2nZ-7NAcX0L6ZqOaWF4r3W3Q==',NULL,NULL,NULL,NULL,NULL,NULL,0,NULL);
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'67bjx8s5zvgg','2026-11-27 08:14:40.355802',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('7h6vevn2pf7a9zgp19gs7lkfwg',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('7h6vevrsv0b407kln05wny2jcy',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('7h6vevrfev2fl5lh24ckz5415v',0,13,X'69742068617320626567756E0A');
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
INSERT INTO "notifications" VALUES('ak5o3elpuw17unmhqv0jvh41wp','final','q8hzbhsvz646',NULL,'2026-11-27 08:14:07.962355','2026-11-27 08:14:07.962355',0,NULL,'2026-11-27 08:14:08.024880','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('c0avtsv0kul804dc9u86ijc13h','final','eldabla8wmw9',NULL,'2026-11-27 08:14:13.425066','2026-11-27 08:14:13.425066',0,NULL,'2026-11-27 08:14:13.482542','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 08:14:18.838716');
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
INSERT INTO "workers" VALUES('67bjx8s5zvgg','a-computer',1,'0.1.0',1,'2026-11-27 08:14:01.834113','2026-11-27 08:14:25.291538',NULL,2);
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
