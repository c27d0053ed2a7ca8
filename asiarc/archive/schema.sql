-- What happened. One file, one writer, every change an atomic commit.
CREATE TABLE IF NOT EXISTS runs (           -- one resolved campaign at one tier: its identity and provenance
    run TEXT PRIMARY KEY, campaign TEXT NOT NULL, tier TEXT NOT NULL, seed INTEGER NOT NULL,
    identity TEXT NOT NULL, provenance TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS candidates (     -- content-addressed sources, baselines among them
    address TEXT PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, motivation TEXT NOT NULL, genome TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS behaviours (     -- what a candidate computes on fixed probes with fixed weights, by the cell
    probes TEXT NOT NULL, address TEXT NOT NULL, cell_0 INTEGER, cell_1 INTEGER,  -- of two numbers; none: no numbers
    numbers TEXT NOT NULL, PRIMARY KEY (probes, address)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS proposals (      -- who was proposed when, and from whom: the lineage
    run TEXT NOT NULL REFERENCES runs, number INTEGER NOT NULL, generation INTEGER NOT NULL,
    address TEXT NOT NULL REFERENCES candidates, name TEXT NOT NULL, motivation TEXT NOT NULL,
    parents TEXT NOT NULL, origins TEXT NOT NULL, predicted TEXT NOT NULL, author TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, number)
) STRICT;
CREATE TABLE IF NOT EXISTS results (        -- how each proposal of a run ended: its outcome, the rung reached, its gain
    run TEXT NOT NULL REFERENCES runs, number INTEGER NOT NULL, address TEXT NOT NULL,
    outcome TEXT NOT NULL, gate TEXT NOT NULL, reason TEXT NOT NULL,
    rung INTEGER NOT NULL, gain REAL, scores TEXT NOT NULL, holds INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (run, number)
) STRICT;
CREATE TABLE IF NOT EXISTS admissions (     -- what the gates said, and why
    key TEXT PRIMARY KEY, address TEXT NOT NULL REFERENCES candidates,
    outcome TEXT NOT NULL, gate TEXT NOT NULL, reason TEXT NOT NULL,
    findings TEXT NOT NULL, measures TEXT, cpu_s REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS trials (         -- one training of one candidate with one seed on one task
    key TEXT PRIMARY KEY, address TEXT NOT NULL REFERENCES candidates, task TEXT NOT NULL, stage TEXT NOT NULL,
    seed TEXT NOT NULL, recipe TEXT NOT NULL, steps INTEGER NOT NULL, learning_rate REAL NOT NULL,
    outcome TEXT NOT NULL, gate TEXT NOT NULL, reason TEXT NOT NULL,
    metric TEXT, value REAL, parameters INTEGER, state_bytes INTEGER, flops_per_token REAL,
    tokens INTEGER, curve TEXT, details TEXT, layers TEXT NOT NULL,
    wall_s REAL NOT NULL, cpu_s REAL NOT NULL, peak_memory_bytes INTEGER NOT NULL, created_at TEXT NOT NULL,
    train_s REAL, gpu_memory_bytes INTEGER, energy_j REAL, peak_flops_per_s REAL
) STRICT;
CREATE TABLE IF NOT EXISTS uses (           -- which trials a run's stage rests on (trials are shared between runs)
    run TEXT NOT NULL REFERENCES runs, stage TEXT NOT NULL, trial TEXT NOT NULL REFERENCES trials,
    PRIMARY KEY (run, stage, trial)
) STRICT;
CREATE TABLE IF NOT EXISTS insights (       -- what the analyst wrote about a proposal
    run TEXT NOT NULL REFERENCES runs, number INTEGER NOT NULL, generation INTEGER NOT NULL,
    address TEXT NOT NULL, insight TEXT NOT NULL, PRIMARY KEY (run, number)
) STRICT;
CREATE TABLE IF NOT EXISTS stages (         -- a finished stage and what it hands to the next
    run TEXT NOT NULL REFERENCES runs, stage TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (run, stage)
) STRICT;
CREATE TABLE IF NOT EXISTS losses (         -- how often in a row the machine failed under a job, by the job's key
    key TEXT PRIMARY KEY, times INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS verdicts (       -- what the evidence last said of each claim, by tier
    claim TEXT NOT NULL, tier TEXT NOT NULL, item TEXT NOT NULL, verdict TEXT NOT NULL, created_at TEXT NOT NULL,
    PRIMARY KEY (claim, tier, item)
) STRICT;
CREATE TABLE IF NOT EXISTS exchanges (      -- every question to a language model, and its reply
    key TEXT PRIMARY KEY, role TEXT NOT NULL, model TEXT NOT NULL, fault TEXT,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, exchange TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS asked (          -- what a run rests on, and for what: "3 propose" is proposal number 3
    run TEXT NOT NULL, place TEXT NOT NULL, key TEXT NOT NULL REFERENCES exchanges, PRIMARY KEY (run, place, key)
) STRICT;
CREATE TABLE IF NOT EXISTS versions (       -- every version of a proposal: 0 as proposed, then its revisions, each
    run TEXT NOT NULL, number INTEGER NOT NULL, version INTEGER NOT NULL,  -- with the ending that called for the next
    address TEXT NOT NULL, proposal TEXT NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (run, number, version)
) STRICT;
CREATE TABLE IF NOT EXISTS decisions (      -- whether a candidate behaves as another one did: decided once, in order
    run TEXT NOT NULL, number INTEGER NOT NULL, address TEXT NOT NULL, twin TEXT NOT NULL,
    PRIMARY KEY (run, number, address)
) STRICT;
CREATE TABLE IF NOT EXISTS judgements (     -- the judge's marks, one row a sample
    run TEXT NOT NULL, number INTEGER NOT NULL, sample INTEGER NOT NULL, marks TEXT NOT NULL,
    PRIMARY KEY (run, number, sample)
) STRICT;
CREATE INDEX IF NOT EXISTS trials_by_address ON trials (address, task);
CREATE INDEX IF NOT EXISTS admissions_by_address ON admissions (address);
CREATE INDEX IF NOT EXISTS proposals_by_address ON proposals (address);
CREATE INDEX IF NOT EXISTS proposals_by_parent ON proposals (run, json_extract(parents, '$[0]'));
CREATE INDEX IF NOT EXISTS candidates_by_name ON candidates (name);
CREATE INDEX IF NOT EXISTS behaviours_by_cell ON behaviours (probes, cell_0, cell_1);
CREATE INDEX IF NOT EXISTS decisions_by_address ON decisions (address);
CREATE INDEX IF NOT EXISTS versions_by_address ON versions (run, address);
CREATE INDEX IF NOT EXISTS results_by_rank ON results (run, outcome, holds DESC, rung DESC, gain DESC, number);
CREATE INDEX IF NOT EXISTS results_by_outcome ON results (run, outcome, number);
CREATE INDEX IF NOT EXISTS results_failed ON results (run, number) WHERE outcome != 'scored';
CREATE INDEX IF NOT EXISTS insights_by_address ON insights (run, address);
CREATE INDEX IF NOT EXISTS uses_by_trial ON uses (trial);
