BEGIN TRANSACTION;
CREATE TABLE agreement (
	id INTEGER NOT NULL, 
	least_code INTEGER NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	prints JSON NOT NULL, 
	CONSTRAINT pk_agreement PRIMARY KEY (id), 
	CONSTRAINT ck_agreement_single CHECK (id = 1)
);
INSERT INTO "agreement" VALUES(1,2,'85fb544f7297f4761ce05533b52cc1a2','{}');
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0004');
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
INSERT INTO "attempts" VALUES('spu7us9qs2g1pq8irgs839pail','h7qejx658shk',1,'ended','exit_code','exited with 0',0,0,'gpu_1x_l40',84,'sshKey,sshKeys','5eb344029dc2a340d058c3e870f7508a78608cfda3b16fb03bbbfcbb74e67781','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGBNX317sp17hA+hnt6nDGPZy3mJScf1G7keWGo2epe1','attested',1,'2026-11-27 07:46:33.123913','2026-11-27 07:46:33.808961','2026-11-27 07:46:34.502555','2026-11-27 07:46:35.357139','2026-11-27 07:46:35.929333','2026-11-27 07:46:36.377153','2026-11-27 08:01:32.678911','2026-11-27 13:33:31.000000','max_cost',NULL,NULL,NULL,31,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('spu7uskofowi9prmi37st4uteq','foaujpqvnmvy',1,'ended','exit_code','exited with 3',0,3,'gpu_1x_l40',84,'sshKey,sshKeys','e8c6cf4cecaddf7de155cfc375a2e47a94fd7750c61004c213279ef84b2a32f5','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAoQRYXJmg+BS+DDtthNK9p7s+NoPIx0k6m6l6GLeMnt','attested',1,'2026-11-27 07:46:49.157828','2026-11-27 07:46:49.372255','2026-11-27 07:46:49.980003','2026-11-27 07:46:50.450925','2026-11-27 07:46:50.973629','2026-11-27 07:46:51.382210','2026-11-27 08:01:49.122934','2026-11-27 13:33:48.000000','max_cost',NULL,NULL,NULL,16,'sealed',NULL,NULL,2);
INSERT INTO "attempts" VALUES('spu7usz4xphlcqbxexci87y75z','r4cq7sfu490e',1,'running',NULL,NULL,0,NULL,'gpu_1x_l40',84,'sshKey,sshKeys','2fd68a1732fe9c85713375f5d2ec60430582fcd92485d3e04a9cb9022f05a050','ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIKWKy8N4GVFesoexYBN7i3KpiehhpnIu9JyG5Axntim','attested',1,'2026-11-27 07:47:02.063200','2026-11-27 07:47:02.153856','2026-11-27 07:47:02.535211','2026-11-27 07:47:02.984617','2026-11-27 07:47:03.327431',NULL,'2026-11-27 08:02:02.049168','2026-11-27 13:34:01.000000','max_cost',NULL,NULL,NULL,13,NULL,'0i526w61aamk','2026-11-27 07:47:45.874694',2);
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
INSERT INTO "events" VALUES(1,'h7qejx658shk',NULL,'2026-11-27 07:46:30.333781','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(2,'h7qejx658shk','spu7us9qs2g1pq8irgs839pail','2026-11-27 07:46:33.123913','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(3,'h7qejx658shk','spu7us9qs2g1pq8irgs839pail','2026-11-27 07:46:34.106709','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(4,'h7qejx658shk','spu7us9qs2g1pq8irgs839pail','2026-11-27 07:46:35.929333','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(5,'h7qejx658shk','spu7us9qs2g1pq8irgs839pail','2026-11-27 07:46:36.377153','exited','running','finishing','exit_code','exited with 0','holder');
INSERT INTO "events" VALUES(6,'h7qejx658shk','spu7us9qs2g1pq8irgs839pail','2026-11-27 07:46:38.498098','ended with success','finishing','succeeded','exit_code','exited with 0','observer');
INSERT INTO "events" VALUES(7,'foaujpqvnmvy',NULL,'2026-11-27 07:46:48.837071','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(8,'foaujpqvnmvy','spu7uskofowi9prmi37st4uteq','2026-11-27 07:46:49.157828','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(9,'foaujpqvnmvy','spu7uskofowi9prmi37st4uteq','2026-11-27 07:46:49.585002','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(10,'foaujpqvnmvy','spu7uskofowi9prmi37st4uteq','2026-11-27 07:46:50.973629','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(11,'foaujpqvnmvy','spu7uskofowi9prmi37st4uteq','2026-11-27 07:46:51.382210','exited','running','finishing','exit_code','exited with 3','holder');
INSERT INTO "events" VALUES(12,'foaujpqvnmvy','spu7uskofowi9prmi37st4uteq','2026-11-27 07:46:52.325853','ended with failure','finishing','failed','exit_code','exited with 3','observer');
INSERT INTO "events" VALUES(13,'r4cq7sfu490e',NULL,'2026-11-27 07:47:01.750572','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(14,'r4cq7sfu490e','spu7usz4xphlcqbxexci87y75z','2026-11-27 07:47:02.063200','admitted','queued','deploying',NULL,'renting gpu_1x_l40','admission');
INSERT INTO "events" VALUES(15,'r4cq7sfu490e','spu7usz4xphlcqbxexci87y75z','2026-11-27 07:47:02.283690','deployed','deploying','booting',NULL,'gpu_1x_l40 is booting','holder');
INSERT INTO "events" VALUES(16,'r4cq7sfu490e','spu7usz4xphlcqbxexci87y75z','2026-11-27 07:47:03.327431','started','booting','running',NULL,'the command is running','holder');
INSERT INTO "events" VALUES(17,'c3ad900vh9xt',NULL,'2026-11-27 07:47:20.116144','submitted',NULL,'queued',NULL,NULL,'person');
INSERT INTO "events" VALUES(18,'c3ad900vh9xt',NULL,'2026-11-27 07:47:20.537437','waits','queued','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1','admission');
CREATE TABLE facts (
	"key" VARCHAR(200) NOT NULL, 
	value JSON NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_facts PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('account','{"url": "http://127.0.0.1:38131/api/v1", "salt": "ba5c5137d59ebb3ca075fba71295721f", "token": "980fa2906e9675e023dd71af8f370144"}','2026-11-27 07:46:28.716838');
INSERT INTO "facts" VALUES('inventory','{"products": [{"name": "gpu_1x_l40", "price": 860000, "capacity": 40, "gpus": 1}, {"name": "gpu_1x_l40s", "price": 990000, "capacity": 8, "gpus": 1}, {"name": "gpu_1x_a6000", "price": 570000, "capacity": 8, "gpus": 1}, {"name": "gpu_2x_a6000_nvlink", "price": 1140000, "capacity": 4, "gpus": 2}, {"name": "gpu_1x_a5000_spot", "price": 220000, "capacity": 4, "gpus": 1}, {"name": "gpu_1x_h100", "price": 2350000, "capacity": 4, "gpus": 1}, {"name": "gpu_8x_DGX_A100", "price": 10240000, "capacity": 1, "gpus": 8}, {"name": "gpu_1x_v100", "price": 220000, "capacity": 0, "gpus": 1}, {"name": "cpu_small_amd_epyc", "price": 80000, "capacity": 8, "gpus": 0}]}','2026-11-27 07:47:02.041061');
INSERT INTO "facts" VALUES('images','{"images": [{"id": 84, "name": "Ubuntu Server 22.04 w/ drivers"}, {"id": 184, "name": "Ubuntu Server 24.04"}, {"id": 91, "name": "Ubuntu Desktop 22.04"}]}','2026-11-27 07:46:30.258227');
INSERT INTO "facts" VALUES('account_key','{"public": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG9cZKTpAg5lgpb4JjF4kaXKLa2KPKRmmMkROKKhsQdG", "names": ["gpu job runner 294586ff"]}','2026-11-27 07:46:33.057055');
CREATE TABLE installation (
	id INTEGER NOT NULL, 
	installation_id VARCHAR(6) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_installation PRIMARY KEY (id), 
	CONSTRAINT ck_installation_single CHECK (id = 1)
);
INSERT INTO "installation" VALUES(1,'spu7us','2026-11-27 07:46:27.616474');
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
INSERT INTO "instances" VALUES(1,'spu7us9qs2g1pq8irgs839pail','h7qejx658shk','rn-default-spu7us9qs2g1pq8irgs839pail-tp5xpj','a6c28c80-d6c9-4af8-b14f-9577f81941ee','gone','gpu_1x_l40',860000,0,'2026-11-27 13:34:31.000000','2026-11-27 07:46:33.808961',NULL,'2026-11-27 07:46:37.139844','2026-11-27 07:46:37.889017','127.0.0.1',42351,'Ubuntu','rented',1,'2026-11-27 07:46:36.377153','exit_code',1,'2026-11-27 07:48:07.361128','2026-11-27 07:46:37.361128',NULL,'2026-11-27 07:46:38.248617','404');
INSERT INTO "instances" VALUES(2,'spu7uskofowi9prmi37st4uteq','foaujpqvnmvy','rn-default-spu7uskofowi9prmi37st4uteq-tp5xq0','249192c5-8d0b-4635-aa43-90f7e0495e89','gone','gpu_1x_l40',860000,0,'2026-11-27 13:34:48.000000','2026-11-27 07:46:49.372255',NULL,'2026-11-27 07:46:51.133353',NULL,'127.0.0.1',32949,'Ubuntu','rented',1,'2026-11-27 07:46:51.382210','exit_code',1,'2026-11-27 07:48:21.752098','2026-11-27 07:46:51.752098',NULL,'2026-11-27 07:46:52.180913','404');
INSERT INTO "instances" VALUES(3,'spu7usz4xphlcqbxexci87y75z','r4cq7sfu490e','rn-default-spu7usz4xphlcqbxexci87y75z-tp5xqd','67a5ded6-8410-445b-a39e-cb66a3ced09a','live','gpu_1x_l40',860000,0,'2026-11-27 13:35:01.000000','2026-11-27 07:47:02.153856',NULL,'2026-11-27 07:47:24.647876',NULL,'127.0.0.1',33177,'Ubuntu','rented',1,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
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
	fence BIGINT NOT NULL, retries INTEGER DEFAULT '0' NOT NULL, retry_on VARCHAR(200) DEFAULT 'lost,exit_code' NOT NULL, secret_names JSON, secrets TEXT CONSTRAINT ck_jobs_final_has_no_secrets CHECK (secrets IS NULL OR state NOT IN ('succeeded','failed','cancelled','expired')), 
	CONSTRAINT pk_jobs PRIMARY KEY (seq), 
	CONSTRAINT ck_jobs_live_has_attempt CHECK ((state IN ('deploying','booting','running','finishing')) = (attempt_id IS NOT NULL)), 
	CONSTRAINT ck_jobs_final_is_finished CHECK ((state IN ('succeeded','failed','cancelled','expired')) = (finished_at IS NOT NULL)), 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued','deploying','booting','running','finishing','succeeded','failed','cancelled','expired')), 
	CONSTRAINT ck_jobs_final_has_reason CHECK (state NOT IN ('succeeded','failed','cancelled','expired') OR reason IS NOT NULL), 
	CONSTRAINT ck_jobs_ceilings CHECK (max_cost > 0 AND max_runtime > 0), 
	CONSTRAINT uq_jobs_id UNIQUE (id), 
	CONSTRAINT uq_jobs_key UNIQUE ("key")
);
INSERT INTO "jobs" VALUES(1,'h7qejx658shk','succeeded',NULL,'{"shell": "printf ''one line\\r\\n\\377, which is no UTF-8\\n''; echo done > it.txt"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','succeeded','exit_code','exited with 0',NULL,0,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:46:30.333781','2026-11-27 07:46:35.929333','2026-11-27 07:46:38.498098',NULL,NULL,1,0,'lost,exit_code',NULL,NULL);
INSERT INTO "jobs" VALUES(2,'foaujpqvnmvy','failed',NULL,'{"shell": "echo before it fails; exit 3"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','failed','exit_code','exited with 3',NULL,3,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:46:48.837071','2026-11-27 07:46:50.973629','2026-11-27 07:46:52.325853',NULL,NULL,1,0,'lost,exit_code',NULL,NULL);
INSERT INTO "jobs" VALUES(3,'r4cq7sfu490e','running',NULL,'{"shell": "echo it has begun; sleep 600"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','running',NULL,'the command is running','spu7usz4xphlcqbxexci87y75z',NULL,NULL,'1970-01-01 00:00:00.000000',0,'2026-11-27 07:47:01.750572','2026-11-27 07:47:03.327431',NULL,NULL,NULL,1,0,'lost,exit_code',NULL,NULL);
INSERT INTO "jobs" VALUES(4,'c3ad900vh9xt','queued',NULL,'{"shell": "echo its turn"}','["gpu_1x_l40"]','Ubuntu Server 22.04 w/ drivers','{"COLOUR": "blue"}',5000000,'--max-cost',86400,'default','queued','waiting_for_slot','1 instances are in use, and RUNNER_MAX_INSTANCES allows 1',NULL,NULL,NULL,'2026-11-27 07:47:22.239676',1,'2026-11-27 07:47:20.116144',NULL,NULL,NULL,NULL,1,1,'lost,exit_code','["GREETING"]','gAAAAABrCTWINyrXX4dyehDZ3VmnTsg-Er0ZhYOSpAw9WqKqYT_d7HdipITKz377fW3zc4s9EB6qC3a1EfWEa1RE-ZptnfJaEOrmnCFKYniH13jDuFfj6cUq_1uB3nH_7UKfcoBCACqN_otJXFWJaT7_3rIrsErbpg==');
CREATE TABLE leader (
	id INTEGER NOT NULL, 
	owner VARCHAR(64), 
	until DATETIME, 
	fence BIGINT NOT NULL, 
	CONSTRAINT pk_leader PRIMARY KEY (id), 
	CONSTRAINT ck_leader_single CHECK (id = 1)
);
INSERT INTO "leader" VALUES(1,'0i526w61aamk','2026-11-27 07:47:44.710177',1);
CREATE TABLE log_chunks (
	attempt_id VARCHAR(26) NOT NULL, 
	start BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	data BLOB, 
	CONSTRAINT pk_log_chunks PRIMARY KEY (attempt_id, start), 
	CONSTRAINT ck_log_chunks_extent CHECK (size > 0 AND start >= 0), 
	CONSTRAINT fk_log_chunks_attempt_id FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);
INSERT INTO "log_chunks" VALUES('spu7us9qs2g1pq8irgs839pail',0,31,X'6F6E65206C696E650D0AFF2C207768696368206973206E6F205554462D380A');
INSERT INTO "log_chunks" VALUES('spu7uskofowi9prmi37st4uteq',0,16,X'6265666F7265206974206661696C730A');
INSERT INTO "log_chunks" VALUES('spu7usz4xphlcqbxexci87y75z',0,13,X'69742068617320626567756E0A');
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
INSERT INTO "notifications" VALUES('614e917hppmmog6q5d7ld5sneo','final','h7qejx658shk',NULL,'2026-11-27 07:46:38.498098','2026-11-27 07:46:38.498098',0,NULL,'2026-11-27 07:46:38.793105','RUNNER_NOTIFY_URL is not set');
INSERT INTO "notifications" VALUES('8oekmyvp46f62cblxukgo5l9s5','final','foaujpqvnmvy',NULL,'2026-11-27 07:46:52.325853','2026-11-27 07:46:52.325853',0,NULL,'2026-11-27 07:46:52.593130','RUNNER_NOTIFY_URL is not set');
CREATE TABLE tickets (
	id INTEGER NOT NULL, 
	next_at DATETIME NOT NULL, 
	CONSTRAINT pk_tickets PRIMARY KEY (id), 
	CONSTRAINT ck_tickets_single CHECK (id = 1)
);
INSERT INTO "tickets" VALUES(1,'2026-11-27 07:47:24.629078');
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
INSERT INTO "workers" VALUES('0i526w61aamk','a-computer',1,'0.1.0',1,'2026-11-27 07:46:28.787860','2026-11-27 07:47:30.874694',NULL,2);
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
