BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,2,'9beaf2b791d5b5e82a7a113691550c1f','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0005');
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
INSERT INTO "attempts" VALUES('isf2gi63cggbb7izosb1pwpbkw','87r9cjq575jo',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','c716d435399d45c8deb8d278f4854f9c517a1a5d42635c42a5e309ef3a54e26f','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHu8QlPPVnuomEUzXd0qRQp4mGf0/UKq3wYZcmMGrObn','attested',2,'2026-11-27 07:55:40.134190','2026-11-27 07:55:40.664370','2026-11-27 07:55:41.846463','2026-11-27 07:55:42.457215','2026-11-27 07:55:42.676721','2026-11-27 07:55:42.863084','2026-11-27 08:10:39.917001','2026-11-27 13:07:50.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2,2088,'2026-11-27 08:30:30.863084','trees/71/71f039dd8af4d88e4fb443a6bd67f9a145fa8eaf217380179369825a21f9355b',NULL,'{"files": 1, "bytes": 5, "at": "2026-11-27T07:55:43.657240+00:00", "complete": true, "over": true, "note": null}',NULL);
INSERT INTO "attempts" VALUES('isf2gi6alj2g0vm2x87ykn7ikc','m7ieb1i0fylq',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','871f8624e22de44993b2b2ca27b98a1fd3fb12b62e2f622a3ab4589526c3bdaa','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIaoZakCAPsEzkOBtHkD8cMMlGe36KCHV+MvhKDB0bS2','attested',2,'2026-11-27 07:55:55.263915','2026-11-27 07:55:55.336494','2026-11-27 07:55:55.961586','2026-11-27 07:55:56.575854','2026-11-27 07:55:56.842827','2026-11-27 07:55:57.088560','2026-11-27 08:10:55.203487','2026-11-27 13:42:54.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2,0,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('isf2gi8nqav8lem16vcbzes967','uq3sxc7iodfa',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','d54df17c02983f7124ec4b57cdbeadfdccd14b3f0f217c280b542e7d34dc8baa','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEOrplrfbc2Cnw1FYO0vYEuczUUdmyrqge5UMSuUip+7','attested',2,'2026-11-27 07:56:07.559611','2026-11-27 07:56:07.646079','2026-11-27 07:56:07.967494','2026-11-27 07:56:08.348306','2026-11-27 07:56:08.580282',NULL,'2026-11-27 08:11:07.530840','2026-11-27 13:43:06.000000','max_cost',NULL,NULL,NULL,13,NULL,'3f721zli1r74','2026-11-27 07:56:48.218335',2,0,NULL,NULL,NULL,NULL,NULL);
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
INSERT INTO "events" VALUES(1,'87r9cjq575jo',NULL,'2026-11-27 07:55:37.297885','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'87r9cjq575jo','isf2gi63cggbb7izosb1pwpbkw','2026-11-27 07:55:40.134190','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'87r9cjq575jo','isf2gi63cggbb7izosb1pwpbkw','2026-11-27 07:55:41.125136','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'87r9cjq575jo','isf2gi63cggbb7izosb1pwpbkw','2026-11-27 07:55:42.676721','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'87r9cjq575jo','isf2gi63cggbb7izosb1pwpbkw','2026-11-27 07:55:42.863084','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'87r9cjq575jo','isf2gi63cggbb7izosb1pwpbkw','2026-11-27 07:55:45.816796','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'m7ieb1i0fylq',NULL,'2026-11-27 07:55:54.868198','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'m7ieb1i0fylq','isf2gi6alj2g0vm2x87ykn7ikc','2026-11-27 07:55:55.263915','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'m7ieb1i0fylq','isf2gi6alj2g0vm2x87ykn7ikc','2026-11-27 07:55:55.580387','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'m7ieb1i0fylq','isf2gi6alj2g0vm2x87ykn7ikc','2026-11-27 07:55:56.842827','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'m7ieb1i0fylq','isf2gi6alj2g0vm2x87ykn7ikc','2026-11-27 07:55:57.088560','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'m7ieb1i0fylq','isf2gi6alj2g0vm2x87ykn7ikc','2026-11-27 07:55:58.118410','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'uq3sxc7iodfa',NULL,'2026-11-27 07:56:07.142696','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'uq3sxc7iodfa','isf2gi8nqav8lem16vcbzes967','2026-11-27 07:56:07.559611','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'uq3sxc7iodfa','isf2gi8nqav8lem16vcbzes967','2026-11-27 07:56:07.768987','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'uq3sxc7iodfa','isf2gi8nqav8lem16vcbzes967','2026-11-27 07:56:08.580282','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'hsd1pfgyveu9',NULL,'2026-11-27 07:56:23.376372','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'hsd1pfgyveu9',NULL,'2026-11-27 07:56:23.722572','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 40, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}]}','2026-11-27 07:56:07.485092');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 07:55:37.179868');
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:32791/api/v1", "salt": "d0c833e76164d9328b4289a72183deeb", "token": "6cc3bdc1aa49aa6b14caec12e1b70761"}','2026-11-27 07:55:37.668377');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG/Dky0nG/Y83BAfGVBwmCQlg253HOY1GKB9/iQ37xcl", "names": ["gpu job runner fad9f1cb"]}','2026-11-27 07:55:40.077420');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'isf2gi','2026-11-27 07:55:36.302112');
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
INSERT INTO "instances" VALUES(1,'isf2gi63cggbb7izosb1pwpbkw','87r9cjq575jo','rn-default-isf2gi63cggbb7izosb1pwpbkw-tp5y4q','553cecfd-b7a0-46a2-b31d-171ec4f7b85e','gone','gpu_1x_l40',860000,0,'2026-11-27 13:43:38.000000','2026-11-27 07:55:40.664370',NULL,'2026-11-27 07:55:43.872261','2026-11-27 07:55:45.517202','127.0.0.1',45257,'Ubuntu','rented',1,'2026-11-27 07:55:43.657707','its outputs are in',1,'2026-11-27 07:57:13.993736','2026-11-27 07:55:43.993736',NULL,'2026-11-27 07:55:45.683396','404');
INSERT INTO "instances" VALUES(2,'isf2gi6alj2g0vm2x87ykn7ikc','m7ieb1i0fylq','rn-default-isf2gi6alj2g0vm2x87ykn7ikc-tp5y56','70983083-fd4d-4c2b-96e8-80ee962e0fcd','gone','gpu_1x_l40',860000,0,'2026-11-27 13:43:54.000000','2026-11-27 07:55:55.336494',NULL,'2026-11-27 07:55:57.156441',NULL,'127.0.0.1',38393,'Ubuntu','rented',1,'2026-11-27 07:55:57.088560','exit_code',1,'2026-11-27 07:56:27.417688',NULL,NULL,'2026-11-27 07:55:57.859275','404');
INSERT INTO "instances" VALUES(3,'isf2gi8nqav8lem16vcbzes967','uq3sxc7iodfa','rn-default-isf2gi8nqav8lem16vcbzes967-tp5y5i','b31afa26-c3f0-4c84-9196-5a61a6b51810','live','gpu_1x_l40',860000,0,'2026-11-27 13:44:06.000000','2026-11-27 07:56:07.646079',NULL,'2026-11-27 07:56:30.824701',NULL,'127.0.0.1',34327,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
	fence BIGINT NOT NULL, retries INTEGER DEFAULT '0' NOT NULL, retry_on VARCHAR(200) DEFAULT 'lost,exit_code' NOT NULL, secret_names JSON, secrets TEXT CONSTRAINT ck_jobs_final_has_no_secrets CHECK (secrets IS NULL OR state NOT IN ('succeeded','failed','cancelled','expired')), workdir VARCHAR(200), workdir_files INTEGER, workdir_bytes BIGINT, setup TEXT, outputs JSON, sync_every BIGINT, 
	CONSTRAINT pk_jobs PRIMARY KEY (seq), 
	CONSTRAINT ck_jobs_live_has_attempt CHECK ((state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)), 
	CONSTRAINT ck_jobs_final_is_finished CHECK ((state IN ('succeeded','failed','cancelled','expired')) = (finished_at IS NOT NULL)), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued','deploying','booting','running','finishing','succeeded','failed','cancelled','expired')), 
	CONSTRAINT ck_jobs_final_has_reason CHECK (state NOT IN ('succeeded','failed','cancelled','expired') OR reason IS NOT NULL), 
	CONSTRAINT ck_jobs_ceilings CHECK (max_cost > 0 AND max_runtime > 0), 
	CONSTRAINT uq_jobs_id UNIQUE (id), 
	CONSTRAINT uq_jobs_key UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'87r9cjq575jo','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:55:37.297885','2026-11-27 07:55:42.676721','2026-11-27 07:55:45.816796',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,'["*.txt"]',NULL);
INSERT INTO "jobs" VALUES(2,'m7ieb1i0fylq','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:55:54.868198','2026-11-27 07:55:56.842827','2026-11-27 07:55:58.118410',NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(3,'uq3sxc7iodfa','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','isf2gi8nqav8lem16vcbzes967',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:56:07.142696','2026-11-27 07:56:08.580282',NULL,NULL,NULL,1,0,'lost,exit_code',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(4,'hsd1pfgyveu9','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 07:56:24.793380',1,'2026-11-27 07:56:23.376372',NULL,NULL,NULL,NULL,1,1,'lost,exit_code','["GREETING"]','gAAAAABrCTenzFsC7y3Iiu6lPta1NM_y8AcWONBrPa2SBJTQg4BbxqhUFmSBQhROZ53L-XS4eZ8BoIBOB9TOFPX0zt-fXWIlMrCt4u5l9jeAZ5GoggUt0AkA-wYmQZ95TrCk7pWraofXvfrzmsuD6atC3F37WvLZ8Q==',NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'3f721zli1r74','2026-11-27 07:56:48.240248',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('isf2gi63cggbb7izosb1pwpbkw',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('isf2gi6alj2g0vm2x87ykn7ikc',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('isf2gi8nqav8lem16vcbzes967',0,13,X'69742068617320626567756E0A');
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
INSERT INTO "notifications" VALUES('xk1f2ey2vwnn4conhqisfatyh6','final','87r9cjq575jo',NULL,'2026-11-27 07:55:45.816796','2026-11-27 07:55:45.816796',0,NULL,'2026-11-27 07:55:46.066173','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('hj747cuyuzns2fdala20wnhn7b','final','m7ieb1i0fylq',NULL,'2026-11-27 07:55:58.118410','2026-11-27 07:55:58.118410',0,NULL,'2026-11-27 07:55:58.396175','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 07:56:30.823381');
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
INSERT INTO "workers" VALUES('3f721zli1r74','a-computer',1,'0.1.0',1,'2026-11-27 07:55:37.681304','2026-11-27 07:56:33.218335',NULL,2);
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
