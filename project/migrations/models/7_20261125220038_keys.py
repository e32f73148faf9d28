from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "api_keys" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "name" VARCHAR(64) NOT NULL,
    "public_id" VARCHAR(16) NOT NULL UNIQUE,
    "hash" VARCHAR(64) NOT NULL,
    "scopes" VARCHAR(64) NOT NULL,
    "created_at" TIMESTAMPTZ NOT NULL,
    "expires_at" TIMESTAMPTZ,
    "revoked_at" TIMESTAMPTZ,
    "used_at" TIMESTAMPTZ
);
COMMENT ON COLUMN "api_keys"."name" IS 'What people call it.';
COMMENT ON COLUMN "api_keys"."public_id" IS 'The part of the key that is no secret.';
COMMENT ON COLUMN "api_keys"."hash" IS 'Of its secret, SHA-256 in hexadecimal.';
COMMENT ON COLUMN "api_keys"."scopes" IS 'read, write, admin; separated by commas.';
COMMENT ON COLUMN "api_keys"."used_at" IS 'Lately, to the minute.';
COMMENT ON TABLE "api_keys" IS 'Who may use the service; of the key itself only a hash is kept.';
        CREATE TABLE IF NOT EXISTS "sessions" (
    "hash" VARCHAR(64) NOT NULL PRIMARY KEY,
    "created_at" TIMESTAMPTZ NOT NULL,
    "expires_at" TIMESTAMPTZ NOT NULL,
    "key_id" BIGINT NOT NULL REFERENCES "api_keys" ("id") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS "idx_sessions_key_id_7ba1a4" ON "sessions" ("key_id");
CREATE INDEX IF NOT EXISTS "idx_sessions_expires_6bcc94" ON "sessions" ("expires_at");
COMMENT ON COLUMN "sessions"."hash" IS 'Of the cookie, SHA-256 in hexadecimal.';
COMMENT ON TABLE "sessions" IS 'A browser that signed in with a key.';
        CREATE VIEW "valid_api_keys" AS SELECT * FROM "api_keys"
            WHERE "revoked_at" IS NULL AND ("expires_at" IS NULL OR "expires_at" > now());"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP VIEW IF EXISTS "valid_api_keys";
        DROP TABLE IF EXISTS "sessions";
        DROP TABLE IF EXISTS "api_keys";"""


MODELS_STATE = (
    "eJztXf9z2rgS/1c0/HLpDO2kNEn72jdvhrT0yjUNnYS+3lznxhW2AD2M5JPlUt69/u9vJR"
    "v83bEJUEP8SwKSVjafXa12Vyvp79acW8R2n3Qd+p4sWy/R3y2G5wQ+JGraqIUdJyxXBRKP"
    "bN0UO9SYkaUuxCNXCmxKKB9j2yVQZBHXFNSRlDPV+vOUozleIs8lSE4Jcon4Rk3yCvGx/g"
    "49ISpdYo8RZ/YSYTTF7hRRF2oc+UQ9xOImPIWyyZb68xj9yyOG5BMCFAJ6/fInFFNmke/E"
    "XX11ZsaYEtuKwUQt1YEuN+TS0WWXdNJn8q1uq952ZJjc9uYsbO8s5ZSzNQFlUpVOCCMCS6"
    "KeIIWnsGOebQcwr+D0XzZs4r9lhMYiY+zZigOK2n+BsKxlGNeDoXHbGxpGK8WdFUUE4KDI"
    "5ExxFl7V1QBM1Cs8/ken8+zZ887ps4sX52fPn5+/OH0BbfX7pque//BfJkTL70pj1v+1fz"
    "1UL8RBfHy5UgU/NA2W2KfSzAjR1/9T+L+eYpGN/qp9An/4YUn8V2gXMWBVEHIgFPnNWQAC"
    "jSVyCHdsgkxs2yC9KanPYcocfzdswiZyCl8vzgrw/nf35vW77s3JxdmjOOjXQU1HVyn4Q7"
    "gdb2RT08iS+XzMY0TbAX4Xkt8agq5wsJBRvSEVK0BTMA5qxRRkM0Y8vSjBiKcXuYxQVXFG"
    "KA1WhQer9rWW+8FY6ekA6Da6fdd93Dm/QJShKfmOLWLSObZrMhJck6s+KrAgpKg1EwTBVh"
    "stBJXQFbbmlL0CjsC4UK+GRktk8vkcuzVhA0iKei8DyzQr3kCNpHOSzY44ZYIlVkD6ZPWh"
    "PgwqPUEXQD3sf+jdDrsfPqru5677l63x6g57qqajS5eJ0pOkelp3gj73h++Q+or+GFz3NJ"
    "zclROhnxi2G/7RUu+EPckNxhcGtqKYrIpXRTE2k+8Ohe42YHOccgtsDmaahsvb57Ig3/hs"
    "o8Ecp2y4XGcug5u2CYsjZAfD39YVvIG9bCPJtUUJk6knScmp89B5rjzm8SzitamCETZnCy"
    "wsI1YTMauI6wJ2GYbVZUD59v0NsbEGOC0KQczi1u/lcCftsDSQVY0m7/A8ONNV8848WYIZ"
    "nuifpJ6tnhTA9YbY9BsRmeGfdV27KABk+a0oKRkC6qIFGU05n71EiykRBGHkCGJRUzX4xU"
    "WEWcrrktwGWxTDlylfQF/C98fAmVFWaHogbbPfu0NCX8Byx9LTP5mR7xK0kyRzR/1v/dnE"
    "i2oZL/KEnYZ/CMzLmXT85nV22LZiQ/R+H8amkpXLdfKh+/uj2HRyNbj+ddU84qK9vhpcJj"
    "3k9eBIe8g95s014n14RcxMkvaW19R1Br+1wFQC6OhkzIWe4kN186iNHNA3UNtGgX4EBxqa"
    "jTG1iVWPOFKgsjLYlKuQoiR3q6Vt8eZ0t2qp8/Ts+dmLZxdna220LilSQiuFEwlIJyaCil"
    "ZuBvnBWLsP0puBrhz4dcTIU3e54yiDcqPhtCdXZuAHxW3sShQIaNkY4JaHGBGCiyqz+Jpg"
    "o6mk9vjue2JvYq4PQrOtbZYNGJ2kbeawOnM6tFkzV3aLvNMU6a4swuN0VVMxsiympDnylg"
    "tCJ+w9WaacqOyA2MdYZ4fFjbyQGBQLvFhHWNKiCB/gxxPpe53d29fdN73Wj/wo5C5DbH0L"
    "JnQuCTOXOXlWiRbtonAbDdtWyLvqMuQ5NseWH+3CyLQpYVLnTrkqMoYnAC9aUJAgT0XDvi"
    "nPlkpkcUaCypOvXyMv+hje9OvXRxlxuJ0+qkxozrQxzCtWcSxu5gNddgU/aF7fFJbyGi4W"
    "Vuicn5eIK0Cr3MCCriuOvI3hfYhwRDAjlMU8QVbrYBCY8Asl7gvsBuJPrJqnsfz0qb9mZt"
    "0+o9SRKBxzF6SSSxtS1NmnVRl1YyqUR6vft41gZFB/gMA0UFsHN5w7Kvo9ccrGwa2d21Nh"
    "UXqn5qCy2O1gGTvLGIzWF5uCyZZ3moFqUKpZeoRdEuTFv0TK7BJ8kbbk7my95dT5T5/6by"
    "oshHoetZ4omt2YYK1/jj2m5zikn6T+nP2rVVEN6nxundkqQdInRCUYgw0wIa5ajJ5jMSOW"
    "toXvrw+16nvmj6roeNEQFRtooKA3WrKI0h1MnAd4QtiKCSs3BCuhRguVN6DDsDZXSWVozE"
    "WTsrNP7fgRwO/6Bk6GbozUFmpGB9oZvt1RemOS9lV1X8jF1FIDFQdigkYEBAGcU8aVntM2"
    "DHZBPl4m1n1/UUkkanC4/kYC6FOPgZRq3f3jmm1NtXYACnTxQ8idcD3TJMSqX1KE5I5RFH"
    "7Nd8vSlDV2z2qbOQSPH1OLBKKdCH3bHOeAHydLAD9WdEcF/ZvBp8urHvp403vdv+0PruMm"
    "hK5URVBA/RD4Ta97lQw82HZEXjMUzm+3g+ucCESaNGn9QRX6H7Kpe1zAK0yKZT4p3gnzTH"
    "WQlHltBVQJjK4J6qzjNwxIbz/OqdEyvoEpmKnR74A5StjAXQJunXEDKFqVNmfHqY5h5twP"
    "znPiuuAyVDFUUoTHgPa+7ZSDSZ7dvb+0teQ+8F3EZsllccqDiUQ9mNB73MKfOyozY6M1lg"
    "Rtw+l6c1oIYm7K6Thtw+k6c1oQx8bmhtu3Y6TNummtGf3Tc0ZqlqDYpIvWiRtHkS4aYUDW"
    "CliMPQUrYPHw3N0LYANG1olrwTKU2iS9yFqoyjiTbBP6atusgVNQ+yUMfq0K0oH3VU0kKq"
    "y/u1PcOb9otZOhnWbHdj2XwsbUJlVP+YvSHGG8bov5uhEpV8PVcLCsdK5cnKrJjC6DNDxR"
    "EiZ9mCpgnaQ7QsnewTl99L/EGC1l1ll9RUo8TndMobo95zYvqJWlUnKBX7c/Jsy3Fh6dgi"
    "E/zfCvc+EMCRo8s8LNa2uwrBYOKRr9W0b/HlwmUys4taVVDfHW+rAXR3BTHUCmPjc5TkcQ"
    "iW1ynJocpybHqclxqvlU2+Q4NTlOR4tzk+PU5DgdxQGBNsEuMTY/0D6LvkmMqPN6eXNeWv"
    "7gUreNDJi9DCTwQNgeDJZCrjeJjA9ibDeJjA+G000i4wPhNDanJCvng3MwvlgOi9dECeaO"
    "gGqfM3NOao+/Y96/wQszRLCwKRHqJI/26r47F34/0kueOmtHRwXuf/DB5WBwFeP8ZT/pdn"
    "z6cNm7OXn6KB7Ky0l5y0/ISh1dSjMXfSvcIxK9/OLALKu8NLh4JmfiiITNkYofynAsWO0y"
    "xW91R01Gfl/k+pr85L7oTTllLlwZCb5wSXDTiUsnTKXo+UcwIqzuusy6TaUcUZkcvojDmp"
    "9p93NvtdzJpaLBsd4m5zNKankYYH7qXeO4Pgh7p0aXKzZs3h2bQVtX3q8R0jQbNba0USPz"
    "zOHKOzS6Dg1OiT4sFpTdnREKXp22ZQzxyLOxKN6dkW5UaMdJv3kyz6D0aWUBfWJ3RXBCo/"
    "o4hqnYAz3ySl/qLAlDeCzBpgvOYcWBY5h7PtlWH1DGVIxt7mh2ZdRyV0aTytGkchwP3CsN"
    "lkY6PzcsSnOvpLC6gb3vrDDAIUuV5Od1rAmOQrb3ndDhCD7CI2pTmRkezRf4FGEj9feQ+s"
    "NeZLgj6LVebBgLPvfjX+rNf/piQpOVcW+VdAhRjwprRrv0Fj9zMSPgB+rdIK0MTzHeoF3k"
    "JS5009LB/mALSnAcNJ4RF/2Hj9xwPIKcKZfFv47Dv3OSMe4xUwX49Sn/WcsB2+q2uTNgH2"
    "P1HncBVN1wfwib7VvvuJZHay3G1Gqrw/2RQ7hjl52d9rBBPBz/ZW2zkOIQjLLVhRhgFTA0"
    "Iv659tu5ZmEntlqNUvkaU2F3CyQuIWwTHodkDYNrx+Ca2IJdIqg5zTICg5pC6w+Hbe4y/v"
    "IZu2Wj66EE2u+58SPfxtogunvccd2d2FJqUFVAOGh+hOg+PT0tc4bA6Wn+IQKqLvMooyqm"
    "aoTkEGzVWgUQf+pk9uP/16Y4oA=="
)
