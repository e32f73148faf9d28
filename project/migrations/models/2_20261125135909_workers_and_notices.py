from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "workers" (
    "id" UUID NOT NULL PRIMARY KEY,
    "name" VARCHAR(255) NOT NULL,
    "models" JSONB NOT NULL,
    "started_at" TIMESTAMPTZ NOT NULL,
    "seen_at" TIMESTAMPTZ NOT NULL
);
COMMENT ON COLUMN "workers"."name" IS 'Host and process id, for people.';
COMMENT ON COLUMN "workers"."models" IS 'What it can be asked for.';
COMMENT ON TABLE "workers" IS 'A process that takes jobs from the queue, as it last announced itself.';
        -- Who waits for a prediction is told of every change of it, whoever makes it. (A notice has 8000 bytes at most.)
        CREATE FUNCTION "tell_of_predictions"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('predictions', string_agg(id || ' ' || state, ','))
    FROM (
        SELECT id, CASE WHEN TG_OP = 'DELETE' THEN 'deleted' ELSE status END AS state, row_number() OVER () / 200 AS part
        FROM changed
    ) AS numbered
    GROUP BY part;
    RETURN NULL;
END
$$;
        CREATE TRIGGER "predictions_created" AFTER INSERT ON "predictions"
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION "tell_of_predictions"();
        CREATE TRIGGER "predictions_changed" AFTER UPDATE ON "predictions"
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION "tell_of_predictions"();
        CREATE TRIGGER "predictions_deleted" AFTER DELETE ON "predictions"
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION "tell_of_predictions"();"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TRIGGER "predictions_created" ON "predictions";
        DROP TRIGGER "predictions_changed" ON "predictions";
        DROP TRIGGER "predictions_deleted" ON "predictions";
        DROP FUNCTION "tell_of_predictions"();
        DROP TABLE IF EXISTS "workers";"""


MODELS_STATE = (
    "eJztXG1v2zYQ/iuEviwDsiBxXtcNA5zEab0mcZA4a9GiEGjpbGuRSZWk5mRd/vtISrKsN8"
    "d2bNdW9cWQSB5FPc+Rujse/c0YUBtcvnODuagTPgRmvEHfDIIHIC9yareRgT0vrlMFAndc"
    "3dyT7UysG+oK3OGCYUvIui52OcgiG7jFHE84lCiJD30sEEa6L8SxYyPaRZggZ4B7gDrQpQ"
    "zkPRV9YGiIOcL8Aew3SN4jj4HtWKqnnziyqOsPCFfiQvUpnAHsqDHY1JKDcEhvNY/zifPV"
    "B1PQHqhO5EM/f5HFDrHhEXh06z2YXQdcOwG2Y6sOdLkpnjxddur0mkRc6LbqZTpm8OS4vf"
    "ck+pSMBBwiVGkPCDAsQD1BMF8hT3zXDYmKyAgGGzcJRjkmY0MX+67iT0kHA4jLDNO8brXN"
    "u0bbNI0Mt5HEGP5hkUWJ0gs5VK4B6Kkh/PJrrba/f1zb3T86OTw4Pj482T2RbfV4s1XHz8"
    "FgYrSCrjRmzbfN67YaEJXKF2imKnjWMljgQEqTEaPPBRY+zzJw1sesQfyB5qApB46JBRku"
    "YukUH/JF03xE6E8iJCqIGYkn0PyUGNy3LAAbpN4z2aPjgp2eIwUcDfCj6QLpib683TuaAP"
    "9f9duzd/Xbrb2jn5McXIc1NV2l2IjRF9Qz4wmWZaENjwWzICs5FwOhwi+ZgKnnxAR8242P"
    "WrkHnH91x3Hduqp/1JAPnsKay9b126j5GA9nl63TFP7y8V3HhlC1k9hfuBQXgJ8USwHfVX"
    "Klgv68dX962UA3t42z5l2zdZ0AO6hURbLAERqC20b9MoU0dt0xfc1ZcP68a13no50jmoJc"
    "VaH/kOvwcgGvMJms82n1VthQLnpM96I7SOu8tgLyF/x8/EcC67zGT//ZTSzpRwdTLOlHB4"
    "VLuqrKgdf8R5qCuSv6CzCPC1ZwTwE3MEaZRNHOWcGLsU5KleHLuRqcB8C5dBlmMVQygmVA"
    "e9V2ChYCBp7I+WwWuknjIi87S5uwkgT+Um3v4PjgZP/oYOQmjUomeUeRJ5TwfJh8eTMw1p"
    "KonktYlG+bD21SMm2LhKI70UW5tLt51bhr169uEip+Xm83VE0taRmGpVtpj2jUCfrQbL9D"
    "6hZ9al030tbLqF37k6HGhH1BTUKHJrbHMYmKo6KUhT/wXJiP57RsxfR6M80YWPMynZStmF"
    "5nphl4LrbmIjolugCe1+0zWSaiY6/fnDVKnBFdlg1UzpCxitZ3H3IjxpPilReUgdMj7+Ep"
    "EzdO4R9tsSQ62yw2niOdi0rj5zM8HO10ZFVRXsiXhyBWdla/O6ufNwwNeQdbD0PMbDOBva"
    "qhNZoqGbXNVg1qg3QJJtL9ssN3USPPEpC3A5agZ8IOWDI89/IGWIsA8j2XYhWUD7ahMLHR"
    "MG+jyhHZHa055F/eovo8tp8hmfpSbVmt5ZZV13FBX2c4KA74jMuUMK5WOzycIuAjWxVGfH"
    "Rd0kHW08r0sHzCDEgnpRaD9fdV+uUjLZ8ogIgAphmwTsuVULMXH8nkzr9gdp4E5ETTJi3i"
    "SbkyhdRWsp7HBAwdO29JKQR+1L5MmC8sjNmXBnc/xw8uhDMWqPDMCwv3ce3waJZVOJao1t"
    "9p1t+NyzgyPCC2gmw2xCOxbeQxagHn+rrKRSpBxLTKRapykapcpCoXac0/tVUuUpWLVFqc"
    "q1ykKhdpIua7y1LvBXucLmAOJjx6jvxSzrGnnSdfJTCs8762xQDPmaiSkCxh+oIhX9BuEf"
    "cp1MANoT2cLBNZrxIOf4i5XSUc/jBMVwmH5WU6kwFVnJ8zlhuVOgme2l0MpS/e34KLC2Kl"
    "uWfPN+wjXpQZ9bzMTKY27vguZpMTmrKNtiflNYmgeTrkN/UB/1A+lZBECSBGh+qyK805X2"
    "rqb2jIHOklEYS7AhhyRHAOX2sA2IVH+hf6gGkypEYBuCpBam0TpKqoahVVLQ/c0Qo2yzbN"
    "uMyr9mfWDexVb9BIHPKWkuIQ60igFLq96tiqx2gHdxzXEc5sCp8RrLT+FVpvYasPeSYMpS"
    "5gUuDSjYRS2Hek1PqAbtRDkw91GR3ov3jSI8+YmDNTcdpqXSaoOG2mVf7+6rRxu7WneYm3"
    "6LMh8SpAOteSVDK/epne4gfKHkD6gToxy8jxFJMNtid5iUPddErPsB5lg4X/oIYfgKO/aY"
    "fH81HqmXJZpHsmvTQXc+noEUJ9YqmzLoKD2836g4vrdsF/5XZ/3zyfwenzfcfeUTLzTM2X"
    "fT/j9658YcUF0k9SPwd/GKufq/oTtR9MvvFppV99sns369mXTTj3YryjWh/tkRo79jbqUo"
    "Y8oJ477ddpBWc14vk/rW0WS2yCURZEluQKYWGCOhD8FaRi4vUGwlJstTXaVatMheVttnAA"
    "Mg/HsVhF8NoRvCa2YB2YY/XzjMCwZqL1h+M2Lxl/xcQu2Oj6UQLtr8zBKrax5ojuljuuux"
    "RbSk2qGRAOm5cQ3b3d3WmO8+zuFp/nUXW5p4pnMVXHRDbBVl2rAOJ3/Zg9/w95mUnh"
)
