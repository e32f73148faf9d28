from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "idempotency_keys" (
    "key" VARCHAR(255) NOT NULL PRIMARY KEY,
    "fingerprint" VARCHAR(64) NOT NULL,
    "prediction_id" BIGINT,
    "answer" TEXT,
    "claimed_at" TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS "idx_idempotency_claimed_64fe91" ON "idempotency_keys" ("claimed_at");
COMMENT ON COLUMN "idempotency_keys"."fingerprint" IS 'Of what was uploaded, SHA-256 in hexadecimal.';
COMMENT ON COLUMN "idempotency_keys"."answer" IS 'The first answer, as it was sent.';
COMMENT ON TABLE "idempotency_keys" IS 'An upload that a client may send again without having it done again (``Idempotency-Key``).';
        ALTER TABLE "predictions" ADD "cached" BOOL NOT NULL DEFAULT False;
        COMMENT ON COLUMN predictions."cached" IS 'Answered by an earlier one, of the same bytes and model.';
        CREATE INDEX IF NOT EXISTS "idx_predictions_sha256_62b970" ON "predictions" ("sha256", "model_version");"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP INDEX IF EXISTS "idx_predictions_sha256_62b970";
        ALTER TABLE "predictions" DROP COLUMN "cached";
        DROP TABLE IF EXISTS "idempotency_keys";"""


MODELS_STATE = (
    "eJztXG1v2zgS/iuEvlwKpEXivPVecICTuFtf07hI3OtiFwuVlkY2LzKppah1fHv570dSsv"
    "XuyI7tyK6+BA7Jkah5ZshnhiP9aYyZDa7/rmvD2GMCqDX9BFPjb+hPg+IxyB8lIw6RgT0v"
    "7lcNAg9cLULiseYDTHUnHviCY0vIfge7PsgmG3yLE08QRpVUm6LAcxm2kRhhgTCyXAJUoD"
    "GeIh+ojfAQE4omRIxYINAI/0HoEBGBbEYh6jz4/j0x0bdypt+/v3mn7m8zS05ASmz+VgEl"
    "vwdgCjYEMQIub/jrb7KZUBsewVf//mpYLiZjsE0sjN9Up/dgOgRcO6X6h1DRusMUU083Xo"
    "0w/6CHqqcamBZzgzFNDPemctZ0Pl4+tWodAgWOBdgJAGjguhFms6Zw7rJB8ADmk7bjBhsc"
    "HLgKRiUdTiFuM0zzttc37zt90zRyEM8kElBETRajyjwIFb7WwBg/mi7QoRjJf1tnZ0/hjW"
    "JNhMPUHf/dvrv62L47kKPeqFsyaWWhGd5GXa2w70lfBAscXkYDEevakfMB7slpiWV0nhFb"
    "j+5nDbHyY5dZXftGz0ETZe4T7EfmD/Yhuv/Yfts6O0fSpEfwKNssMsZuzmeqAHV+WgGn89"
    "NSmFSXQilGxeNgE0s9gEnsPC6XZNilohiZnGgGmwixZ7CJrH7D0FR3jKGaxNu/tlonJxet"
    "o5Pz92enFxdn74/ey7F6wvmuiwWgXHZ/6t7203iohjQKmPoT4Hn19+GxRPmxxEoesR2tG/"
    "0RIIdwX+4Aer6HSHoGCR1EbgOiohMs0G+/87PW7tj3f3eTxn7wuf2z9oPxNOq56d3+NBue"
    "cI6rm95lBo7E3pGD5FoqVcjeYljSkhlo7Ej03exHfZauyv6xCIru5859v/35SwqP63a/o3"
    "paKSxmrQfnmbVqfhH0rdv/iNS/6JfebUerk/liyPUd43H9Xww1JxwIZlI2MbGd1Mmsedb0"
    "pKiA85DYoFTDAFsPE8xtM9fDWqxsbL5r3BpnWzDFQw2S0qaaZ0T2vmBftEMXLqCCid6FNN"
    "CT48zQsypSwG8hG9PXQj4mNmKO9E0kd6QhoAE4jEv6RZmiVdpLsf8AtlwvpCPH6/1ffBSa"
    "vK/ENcPTdp2jgZu/3fNUsJT8LbvfVd3korW1vtxvi1tcOR30BRaBX8wEOzQYawy6cuKYWp"
    "DDIpauNSH0A8sCkCwQMS6vSFywV6F9x+cVaN9xdimNaZ/qSu9wgnlm7GDLEI+8ZI0JyFq2"
    "tY0wDEYdGcRHpp3W/QcZOJQoPy2WUbyj5PZK9de9r5c3HfTlrnPVve/2btMUQneqJtlAhF"
    "bBXad9k6XWrpuw14IF51/3vdsSjp0XzTI62YX+h1zi75filU4W23zWvDP0TF0ga/OaBSwT"
    "+s8F6rzGr5hyWX8kr7Vl/iGpYOGK/oyak4KNuiuoGzhnXGrRLljBy3WdltqHnXM7eh6D78"
    "uQYRmikhPcB21vm6dgIWDsiYJtszRMSoqslBGs3UoSxkut49OL0/cn56fzMGnesig6yif7"
    "ZOzCxUrZpbTkGrJLO2Tdu5BcSjP8sefCajhnZRuk640052CtinRatkG6zkhz8FxsrQR0Rr"
    "Q5Gag10K9+KloB3P1MGefOZ4pAKciZMQ5kSD/BNJc3zuh/dsSSuthuofE0s7lZa3x/jifz"
    "k468Kcof8uEhzJVdte+v2tcd4+mVTsBiAIpOwFLwLDgBS6fnnj8A61GYl2ZEx1CY2mHZRv"
    "agiuTPp1eRr1KtFJ9nSKRkr2wZ4dbZuXGYzc+UFzM151mveZ7lEBf07xwGi2qbYpk9TLqt"
    "sawsYeXK50wPyzssoem0VFPAV0XT8o4CqAjVtISus3J7aNnrT3P65L9gDqYCClJtixbxtN"
    "w+5du2XII3IXbRklKq+Pn4fdL52nKcI8nGRwVBcqk6Y4FGn0U54zkbrLoKxxLN+ltl/d25"
    "ciTDA2orlS2n8ZnYIfI4s8D39e+mUGkP0qlNoVJTqNQUKjWFSjXfaptCpaZQaW/13BQqNY"
    "VKC3V+tCnzXnPE6QL2wYRHj8idcoUD7yL5prqhzofeFge8YhVLSnIPaxsM+YB2j7rTyAJ3"
    "BPbIWRai3lQj/hC+3VQj/jBIN9WIPwjS2BpBUc0HY5J80RKI50IZcAdSaps7c0l9TvjaO9"
    "hoMFUvigPmLgGOGJVj9cvfgHz5/EgfeerSG50VePmHJC57vZsU8pfdbNjx9fNl5+7g+E06"
    "lVdSt1ZeVZWoaMu8v5/BMZL+8OkOXFySxC78YsCOsauyeranTdaf9fEgcDFfXIaWH3S4qB"
    "pNhMOzudjKn2WI5DNlZOqLWJxN1E9H8uxALiF/RxNOZPhKEXaEdI/okyo4cp7SDzGs9QZV"
    "6trmmVFV1tZUrtWycq1Jdzfp7v1R92wFW+b8LCnzooOzuil72ydnUg9FS0l57nsusBe2ve"
    "2kt8fZAA+IZKJkOYPPCTZW/wKr3+1A7JlyoXlA5nA21vGXnvmrB1xN5vrFS9IuJDyWiKs3"
    "GS1+Y/wBZByoK+aMgkgxPeBwUZQ40UOrfrN5VqYXffcOP4CP/sMGfuyP0s5UyBJ+WdPF+m"
    "OblAXUUm8oCR9cp+D7zGu77Jo/wPf1a/d6iaAvCIj9Tsms4prPx37GPxz5wAoLpO+k/pz+"
    "09i+r+ot6iR0vqRb6UdfHN4t+1LSLryQZHxk2h7tuRkT+xA5jCMPmOdW3Z228BJN7P9VuV"
    "kssQukLMwsyRXCwhQNIPyAp0Li5QRhI1ytRsedDVXY3NmID0BXwTgWawCuHcA14YJt4MQa"
    "FZHAqGch+8PxmOfIXzmwayZdP0qi/YXFceUca4Xs7n7ndTfCpZRTLaHhaPgeavf46KjKe1"
    "ZHR+UvWqm+wte9l6GqCZFd4Kq1SiC+6mb29H9ZghCo"
)
