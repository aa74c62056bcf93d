-- The tables of schema version 1, as sqlite had them.
CREATE TABLE arbor_meta (
    "key" VARCHAR(40) NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE searches (
    id VARCHAR(200) NOT NULL,
    experiment VARCHAR(180) NOT NULL,
    question TEXT NOT NULL,
    created DATETIME NOT NULL,
    status VARCHAR(20) NOT NULL,
    settings JSON NOT NULL,
    provenance JSON NOT NULL,
    notes TEXT NOT NULL,
    tags JSON NOT NULL,
    heartbeat DATETIME,
    PRIMARY KEY (id)
);
CREATE TABLE trials (
    id VARCHAR(220) NOT NULL,
    search_id VARCHAR(200) NOT NULL,
    number INTEGER NOT NULL,
    variant VARCHAR(20) NOT NULL,
    seed BIGINT NOT NULL,
    config JSON NOT NULL,
    status VARCHAR(20) NOT NULL,
    cause TEXT,
    epochs INTEGER NOT NULL,
    train_loss FLOAT,
    val_loss FLOAT,
    val_acc FLOAT,
    best_val_acc FLOAT,
    best_epoch INTEGER,
    test_acc FLOAT,
    test_loss FLOAT,
    parameters BIGINT,
    neurons_used BIGINT,
    macs BIGINT,
    macs_conditional BIGINT,
    wall_seconds FLOAT,
    gpu_seconds FLOAT,
    created DATETIME NOT NULL,
    started DATETIME,
    ended DATETIME,
    provenance JSON NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (search_id, number),
    FOREIGN KEY(search_id) REFERENCES searches (id)
);
CREATE INDEX ix_trials_search_id ON trials (search_id);
CREATE INDEX ix_trials_variant ON trials (variant);
CREATE TABLE decisions (
    id INTEGER NOT NULL,
    trial_id VARCHAR(220) NOT NULL,
    epoch INTEGER NOT NULL,
    scheduler VARCHAR(40) NOT NULL,
    rung INTEGER,
    value FLOAT,
    cutoff FLOAT,
    decision VARCHAR(20) NOT NULL,
    created DATETIME NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (trial_id, epoch, scheduler),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);
CREATE INDEX ix_decisions_trial_id ON decisions (trial_id);
CREATE TABLE epochs (
    trial_id VARCHAR(220) NOT NULL,
    epoch INTEGER NOT NULL,
    train_loss FLOAT,
    val_loss FLOAT,
    val_acc FLOAT,
    lr FLOAT,
    train_seconds FLOAT,
    val_seconds FLOAT,
    images_per_second FLOAT,
    extra JSON NOT NULL,
    PRIMARY KEY (trial_id, epoch),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);
CREATE TABLE requests (
    id INTEGER NOT NULL,
    search_id VARCHAR(200) NOT NULL,
    trial_id VARCHAR(220),
    request VARCHAR(20) NOT NULL,
    created DATETIME NOT NULL,
    handled DATETIME,
    PRIMARY KEY (id),
    FOREIGN KEY(search_id) REFERENCES searches (id),
    FOREIGN KEY(trial_id) REFERENCES trials (id)
);
CREATE INDEX ix_requests_search_id ON requests (search_id);
INSERT INTO arbor_meta (key, value) VALUES ('schema_version', '1');
