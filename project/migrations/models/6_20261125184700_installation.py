from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "installation" (
    "id" UUID NOT NULL PRIMARY KEY,
    "swept_at" TIMESTAMPTZ
);
COMMENT ON COLUMN "installation"."id" IS 'What its storage of images is marked with.';
COMMENT ON COLUMN "installation"."swept_at" IS 'When images without a row were last looked for.';
COMMENT ON TABLE "installation" IS 'The database itself: one row.';
        INSERT INTO "installation" ("id") VALUES (gen_random_uuid());"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP TABLE IF EXISTS "installation";"""


MODELS_STATE = (
    "eJztXW1z2kgS/itT+rJ2FUnZ+C2XvboqbJMNt45J2eSytaktZZAamENotHoJ5vb837dnJN"
    "C7LDBggfXFhpluafR0T093T2v4S5lwHQzn7TUY7AfYM+U9+Usx6QTwQ6qvQRRqWWGPaHBp"
    "35DEuk/FQDbTvuPaVHOxZ0ANBxqCwNFsZrmMm4K+RabQH3E+fk+mI7CBUGLZoDNNEPzkED"
    "B1whzickNvEIpfRnyK17KJO6IuGVGHaHwCb8XNdK7h3Zg5XPN1PZP96YHq8iG4eCm8+rc/"
    "sJmZOjzgY+LXb4rjUteTj2zCg6tS14WJJf4rfwhaa6wOGBh6DFemC3rZrrozS7ZdsmHHdD"
    "9IWvFIfVXjhjcxQ3pr5o64uWBgpitah2CCTV0Qd3BtTwBteoYRSGWOvf8kIYn/CBEeHQbU"
    "M4S4BLc/gLBNUdXbbk+9b/dUVUmJcs4RkULQpHFTqAEO1ZEADMUQ3vyj2Tw5uWgenZy/Oz"
    "u9uDh7d/QOaeV4010Xj/5gQrT8S0nMOr90bntiQBx1zVdD0fAoeahLfS4pqRB9zzbS8PdQ"
    "eNngB+QJ9PGxkujPsS6Cf94Q4h/Oji0IoADLXvs3ieTEcf40RMPtf1p3Vx9bdwefWr8dyp"
    "5Z0HPTvf1lTh4Cf3t1072U0IdQh5MjjvbViNpt05tIxDs4RGpqkEI+5K4y+MqUMhdBJwcD"
    "LowIRMzNYYNYaG+wt0EC+wg6QbIBZQboSduVM2sm9EE1wBy6I/x6fF4gxLnIjs8PE8IJep"
    "qyKy6kwGRliCnXIEVZnjZL65LN0WbNUvP49OL03cn56cIaLVqKjNDc4ISAJheCFK7XCIzL"
    "JpANbgZ7AmM94H87/1AC8cDO74Il6nxq3/danz7HzNF1q9cWPc2YKZq3HiQVfnER8rXT+0"
    "jEV/J797Yt0eSOO7TlHUO63u+KGBP1XK6afKpSPYrJvHneFJM3XsrCpwM1z9zlzqMMzpWm"
    "03aEq3QH0r4Z1HFJoKAp/2s7Uwxsm9vLrOILhpWWksrju+2FXbNBoLWCdYtzrsGw7ZKPtW"
    "uWbeGzrCDoJG+9hlVZ0qHPqi4bnaZYN+UR7meoKrIEg3FmpBoim5bIB24DG5q/wiwVRCXw"
    "D7I4n2MX2y1pPM51bt4a3t+m00WGJa2K+AEfHlw/6mzdX7Wu24qEvE+18ZTauhrDXvTwJk"
    "+0LGjTXZPmJNlCTTqUCIlnESMPBNDRcUHnLpjaDKWmZCTaEhSNonQbC2nVMczKJt1M4lkG"
    "p7qf7aJEMxiYLpnQGXFEZowOEV4yZahBnsiG/RCRLXOJzk0IOg++f48M9A2O9Pv3w4w83E"
    "ZvVSY1pxkU1xW9OBc39oFO5yeyjV1Avp6ExMsm42JphebZWYm8AlLlJhZkX3HmbYDjAduy"
    "gxWhLOYJtkong9CFnwp1n1InUH/QG+T+Y+tN8+ycoEqP4AHbNDahRtnYKSao89MScjo/zR"
    "WT6Hqs1tJfMbdum1nqSBbOdKawVEgbclQ5pu1hQDtgtoho5XgbBGcG8ycILgOVDXDDtWPJ"
    "uCfOWQe4lQt7Ug73C7mDwmNHIQfwp53BaH+xK5ikfNINFJNSrNJ96gBORgeMwXsi3C6bT9"
    "Oe3JPUTztjS22FfvnSuV5iI9TzmP5W8GzGBVP+OfBMucYReSfx5/RfypJm8KtwChA74rio"
    "6UMgfEDQBxiCIzajJ9Qegy594efbQ2n6TvxZFZ0vEqJiBw0N9EpbFlG+ncnzoEzAnAthHo"
    "ZQodRkKuoGZBrW4FxIZsDtNSxUtXUsbR0/I/gt38HJsI2R3kLLaCGd6vsdJQPkr36sKq9F"
    "HMp0MVFpoCakD6gIGJyaXNg56cNQB/XjfWLf9ydRRCImhyPYZfwr50DKtG7+dmu2zXWZyr"
    "bKVF5F7YTjaRqAXr2iCJdbalH6NT8sS3NWODyrbOUQ3n7AdAhUO5H6NjjNAT/OlgB+IPj2"
    "Cvrr7pfLmzb5fNe+6tx3urdxF0J2iiZsYH4K/K7dukkmHgwjoq8ZBuff993bnAxEmjXp/W"
    "EX+T8xmLNfwAtMinU+qd4J90xcIKnz0gtYJjG6YKiyjV8xIb3+PKdES/2BrmCmRX8C5ihj"
    "DXcJuGXFDaKoZ1jwfKzjXPuwcm4H5wk4DoYMyzgqKcZ9QHvbfsrOFM9uPl5aW3Efxi72as"
    "Vlcc6dyUS9mtR73MOfWKIyY6U9lgRvLelqS9q2QVtV0nHeWtJVlrQNlkG1lQSdYK33TSst"
    "6BevGalYgWJdLlolaexFuWhEAFk7YDHxFOyAxdNzT2+AdU1YFK4F21DiJelp1kYVS1fvrM"
    "K/3GvWKCns/RYmv+YN6cT7vCeSFZbfnRFtnp0rjWRqp35ju5pbYQNmgPyckkFR0WjIs4f5"
    "ujXW60a0XExX1aJ4hyWQjnPVldFlkMY7umC6PkxLYJ3k20PNXn+G1GH/A7U/cyEjS1dkxO"
    "N8+5Sq23Jt85TpWSYlF/gF/T5hvrb06Agd+VFGfJ0LZ8hQ45mVbl54g2WtcMhR298y9nfn"
    "KpmU4NQWZTnElcVhL5bNNXAc+bmucdqDTGxd41TXONU1TnWNU8WX2rrGqa5x2luc6xqnus"
    "ZpLw4INIA6oMKDxXClXGGvPIu/Loyo8n55fV5a/uTCB9S7pjELNHBHxB5MlkKp14WMr2Ju"
    "14WMr0bSdSHjK5E01UaQVfPBOTpfZo6IF0wJ4faRa5src05pj//GPOikPxPvmAO1DQa2OM"
    "mj4b83DsTB5ydyy1NW7ciswPMPPrjsdm9ikr/sJMOOL58u23cHx4fxVF5OyVt+QVbq6FKW"
    "uekb8H749Q7CY1Oy6+CiP36xY55VXhlcvJIzcUTC6kjFD2XYF6w2WeLXo33PoHZxpV+aqF"
    "FU8Of65MmcdemTLwL+RKVecNqP+DjAeMRDU/szmdoMw3yT0IGLZiQ404sGRib3rIu13qBM"
    "6WCsULCu8KtkhV+9LVBvC+wP3HMLtsw+Y5TnWRuMVQN72zuMiEOWKcnfI1gw7IVub3tzwL"
    "J5n/YZeuyZrna+wqcYa61/htbvdsD6RFnVInAd2Hwi41Q58hcPTOsM/7NN0i4khpbIP2wy"
    "WvzK7TFgHCgrC5WMSDFO0CiKEqeStPQvdQbljMHRgnQMDvkv7zvhfEQ9EyGLf7Sz//tFps"
    "k9UxMvgckTY7N+qHNdl63Pn93GXH3GubLLvry1Cy9uKR+51Ed9ocZMb4iDYokF3DLKrk5b"
    "eNkonP9lfbOQYxecsvnhyugVmKQP/hmp6zmydyO+WoW2hWtXYXN7SA6AuYqMQ7ZawJUTcE"
    "V8wRbYTBtlOYFBT6H3R0Oap5y/fMGu2el6LYn2ZxYR5vtYK2R39zuvuxFfSkyqJRAOyPcQ"
    "3eOjozLvox0d5b+QJvoyX4tfxlWNsOyCr1qpBOKLLmaPfwMW6GBw"
)
