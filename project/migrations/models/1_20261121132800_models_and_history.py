from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "tabular_predictions" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "model" VARCHAR(64) NOT NULL,
    "model_version" VARCHAR(64) NOT NULL,
    "features" JSONB NOT NULL,
    "label" TEXT NOT NULL,
    "probabilities" JSONB NOT NULL,
    "cached" BOOL NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS "idx_tabular_pre_model_dc8648" ON "tabular_predictions" ("model", "id");
COMMENT ON COLUMN "tabular_predictions"."cached" IS 'Answered from the cache.';
COMMENT ON TABLE "tabular_predictions" IS 'What a tabular model said of one row of features; written after it was answered.';
        CREATE TABLE IF NOT EXISTS "past_answers" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "status" VARCHAR(16) NOT NULL,
    "top_prediction" TEXT,
    "confidence" DOUBLE PRECISION,
    "all_predictions" JSONB,
    "model" VARCHAR(64) NOT NULL,
    "model_version" VARCHAR(64) NOT NULL,
    "error_code" VARCHAR(64),
    "error_message" TEXT,
    "attempts" INT NOT NULL,
    "started_at" TIMESTAMPTZ,
    "completed_at" TIMESTAMPTZ,
    "corrected_at" TIMESTAMPTZ,
    "replaced_at" TIMESTAMPTZ NOT NULL,
    "prediction_id" BIGINT NOT NULL REFERENCES "predictions" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "idx_past_answer_predict_15f388" ON "past_answers" ("prediction_id");
COMMENT ON COLUMN "past_answers"."status" IS 'succeeded or failed';
COMMENT ON TABLE "past_answers" IS 'What a model said of an image before another was asked: the prediction''s columns of that time.';"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TABLE IF EXISTS "tabular_predictions";
        DROP TABLE IF EXISTS "past_answers";"""


MODELS_STATE = (
    "eJztXF1z2jgU/SsaXjY7k+0QkpBs94kkpGU3gU5Ct512Oh5hX0ATW3JlsSTbzX9fSbbxtw"
    "MUUuL6zUg6knzOtax7dc23hsMssL1X77AnOtSbA2+8Rt8aFDsgL3Jq91EDu25UpwoEHtm6"
    "uSvbGVg31BV45AmOTSHrxtj2QBZZ4JmcuIIwqhAfplggjHRfyMPEQmyMMEXEwRNAIxgzDv"
    "I3E1PgaI49hL07sF4j+Ru5HCxiqp5+8ZDJ7JlDPQUXqk9BHHil5mAxU06C0MnzDDej5OsM"
    "DMEmoDqRg37+IosJteAevPCne2eMCdhWgmxiqQ50uSEeXF12RiY9Ki51W3UzI8MfOWrvPo"
    "gpowsAoUKVToACxwLUCILPFPN0ZtuBUKEY/mSjJv4sYxgLxnhmK/0U2p9AVNYwjP5gaNx2"
    "h4bRyGgbImL8B0Umo8ou5FQ9TcBETeG331utw8OTVvOwfXp8dHJyfNo8lW31fLNVJ4/+ZC"
    "K2/K40Z703vf5QTYhJ4/MtUxU8agwW2EdpMSL2PYHFzMsqcD7FvEtnjtagJyeOqQkZLSJ0"
    "Sg95o2k9QvbLBAkLIkWiB2h9SRrezDQBLJB2z2WPxAYr/YwUaOTge8MGOhFT+fOgXUL/35"
    "2b87edm72D9q9JDfpBTUtXKTUi9gVzjegBy6owhPuCpyCLXEuBwOC3LMDSz0QJv8PuR23c"
    "jud9teO87l13PmrKnYeg5mrQfxM2j+lwfjU4S/Evhx8TCwLTTnJ/aTNcQH4SliJ+rHCVov"
    "5i8P7sqove3XTPe7e9QT9Btl+pimQBEZqCm27nKsU0tu2YveYsOH/eDvr5bOdAU5SrKvQf"
    "solXLeIVJ+U2nzZvxQ3zxITrXnQHaZvXu4D8BT+f/wVgl9f45V+7iSW9fbTEkt4+KlzSVV"
    "UOvcY/ciuYu6I/QXMcWNO9BN3AOeOSRStnBS/mOomqwpvzeXh2wPOky7DKRiUDrALbz71P"
    "wUKA44qc12ahmxSHPO0svYSVxPeXWgdHJ0enh+2jhZu0KCnzjkJPKOH5cHnzhr9ZS7J6IW"
    "lRvm0+tUlkei8SQF+FF9Wy7t5193bYuX6XMPGLzrCralrJnWFQupf2iBadoA+94VukfqJP"
    "g343vXtZtBt+aqg54ZlgBmVzA1txTsLisCi1w3dcG9bTOY2tld5tpTkHc12lk9ha6V1Wmo"
    "NrY3MtoVPQDei8a6/JKgkdef3GqlHiDHRbe6BqhoxVtH58lxsxLotXXjIOZEL/godM3DjF"
    "f3jEkujsZanxGNpcWBqNz/F8cdKRNUV5IW8e/FjZeef2vHPRbWjKR9i8m2NuGQnuVQ1rsV"
    "TJom22ymk56RJMpftlBfeiZp4VIO8ELCFPyQlYMjz39AHYgAKauTbDKijvH0NhaqF53kEV"
    "EdkTrTXwTx9RfY6dZ0ilvtRHVjt5ZDUmNujrjAbFAZ84poJxtdbx8RIBH9mqMOKj65IOsn"
    "6sDBfLEVZgOonaDNc/1ui3z7QcUQAVPk0rcJ3GVdCyNx/J9Mi/YIweBORE08oW8SSuSiG1"
    "Z1nPIwHmxMpbUgqJX7SvEucbC2NO5YZ7muMHF9IZAWo+88LCU9w6bq+yCkeIev1dZv19cR"
    "lHDReopShbjfEQto9czkzwPH1d5yJVIGJa5yLVuUh1LlKdi7Tjr9o6F6nORaosz3UuUp2L"
    "VMp5c1vmvWGP0wbsgQH3LpFvyjXOtPPwdQLDLp9rmxzwmokqCWQF0xca8gatAbUfAgt8Ib"
    "IHD0up6nXC4U/xbNcJhz+N0nXCYXWVzmRAFefnxHKjUl+Cp04XA/TlXzdg44JYae635y/s"
    "JV6UGfW4zUymIR7NbMzLE5qyjfbL8pqE3zwd8lv6A/8An0pIYhQQZ3N1OZbbuZm01D/QnB"
    "PpJVGExwI4IsL/Dl9bAFiFn/RvdIBlMqQWAbg6QWpnE6TqqGodVa0O3eEKtsoxTRzzXecz"
    "u0b2cx/QSB7ylpLiEOsCUAnbfu7YqsvZCI+ITQRZzeAzwNrqv8PqTWxOIW8Lw5gNmBa4dA"
    "tQivuRRO0O6Y1OsOVDY84c/RdPeuaZLebKUpwNBlcJKc56aZN/f33Wvdk70LpER/TZkHgd"
    "IF1rSaqYX71Nb7EDnJjTRo6LGNTsl/mFOGrzlCtYLOyG/zPtZ3GuvvPcrdhtWmNHX+29/F"
    "a+dVAP1QoMB80ryO5Bs7lMCmezWZzDqepyvyRZZesYg9SbxhU3jT/0Zfb4P/FSEKo="
)
