from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True

SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00A1\u00A7\u00AB\u00AD\u00B6\u00B7\u00BB\u00BF\u055A-\u055F\u0589"
    r"\u05BE\u05C0\u05C3\u060C\u061B\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u1680\u2000-\u206F\u2E00-\u2E7F"
    r"\u3000-\u3003\u3008-\u3011\u3014-\u301F\u3030\u30FB\uFE00-\uFE1F\uFE30-\uFE6F\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40"
    r"\uFF5B-\uFF65"
)
SYMBOLS = r"\u00A2-\u00A6\u00A8\u00A9\u00AC\u00AE-\u00B1\u00B4\u00B8\u00D7\u00F7\u20A0-\u20CF\u2190-\u2BFF\U0001F000-\U0001FAFF"


async def upgrade(db: BaseDBAsyncClient) -> str:
    return f"""
        -- What app/db/crud/search.py looks words up in: also of scripts with marks on letters, and emoji.
        DROP INDEX "idx_predictions_words";
        CREATE INDEX "idx_predictions_words" ON "predictions" USING gin (
    array_to_tsvector(array_remove(regexp_split_to_array(regexp_replace(lower(normalize(coalesce(top_prediction, '') || ' ' || filename)), '([{SYMBOLS}])', ' \\1 ', 'g'), '[{SEPARATORS}]+'), ''))
) WITH (fastupdate = off);"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        DROP INDEX "idx_predictions_words";
        CREATE INDEX "idx_predictions_words" ON "predictions" USING gin (
    to_tsvector('simple', regexp_replace(coalesce(top_prediction, '') || ' ' || filename, '[[:punct:][:space:]]+', ' ', 'g'))
) WITH (fastupdate = off);"""


MODELS_STATE = (
    "eJztXf9z07gS/1c0+eVgJtcpoRQevHkzKZQjR2mZNjxujncTFFtJdHEsny0T8u7xv7+VLM"
    "ffXdtNUiX1L9BIWlvelVa7H61Wf3cWzCSWd9R36Huy6rxEf3dsvCDwR6qmizrYcaJyUcDx"
    "2JJNsUNHc7KShXjscRcbHMon2PIIFJnEM1zqcMps0frzjKEFXiHfI4jPCPKI+40a5BViE/"
    "kbnoQo94g1Qcy2VgijGfZmiHpQ4/Aj8RKTGfAWak839Dzfpn/5ZMTZlACFC0/98gcUU9sk"
    "34kX/nTmowkllplgEzXFA2T5iK8cWXZGpwObv5VtRW/HI4NZ/sKO2jsrPmP2moDaXJROiU"
    "1czIl4A3d9wTvbtyzF5pCdQWejJkEvYzQmmWDfEhIQ1EEHorLOaHR5NRzdnA9Ho05GOiFF"
    "jMGqyGC2kCx01ZMMmIou/PyPXu/p0+e946enL56dPH/+7MXxC2gr+5utev4j6EzEreBRkm"
    "eDXwaXQ9EhBsMnGFei4IekwRwHVFIYEffl/xn+v55hN5/7YfsU/+HD0vwPuV0mgLAgkkA0"
    "5JuLAAY05sghzLEIMrBlwejNjPoCoSzw95FF7Cmfwc/TkxJ+/7t//fpd//rR6cnjJNMvVU"
    "1PVgn2R+x2/LFFjVHemC/meYJoM4zfxsjvDEFXONjlcb3BhShAU9gM1IrhkmaCeHJaQRBP"
    "TgsFIaqSghAarI4MwvZaj/uridDTitFddPOu/3Pv2SmiNpqR79gkBl1gS5OZ4BlMPKOGCC"
    "IKrYXgEmx20dKlHB6FzQW1X4FEYF6IrqHxChlsscCeJmKAkSL6NcI8K4o3UMPpguSLI0mZ"
    "EompSI/CP/QRUOUFuoTVw8GH85th/8NH8fiF5/1lSX71h+eipidLV6nSR2n1tH4I+jwYvk"
    "PiJ/r96vJcspN5fOrKN0bthr93RJ+wz9nIZssRNuM8CYvDooSYyXeHwuMaiDlJuQExq5Wm"
    "lfLmpeySb2zeaDInKVsp6yxlcNOaiDhGtjfy7VxAD6xVF3EmLUpYTH1OKi6d+y5z4TFP5j"
    "GvTRSMsTFfYtccJWpiZhXxPOBdjmF1pijfvr8mFpYMzg4FhVncBE/Z30U7KlVjVXKT9VgR"
    "O7NVi94iXYJtPJWfJN4t3qTYBTarLb35DPijarpl4I8h21TEfvooaB44Vh5bkDEzV2gB1v"
    "1LMP5DUAYsT9tENvlGXEVgKggnC/9s5pG3I0BfOp4//pMYXHmy8J3io/5okSEtkSEl4yae"
    "QYKy9Qy0W1ni1sScrHLhqLKJFtHcPtnuz3a4ClCo/sdBhEQtsSdgbrOq973DmRiJZDljdX"
    "AR1VxrUGQYwIE/eUh8ZBcxF0G3ESyFRCwxS23wELUo1WB/RKG1BByXmFR29chgrgvLMDG7"
    "QiZHyvfrov/4vePeaRM5PO1VkMPTXqEcRFUKHkyYCtVVU5KukXralUQGZgiUR7KRMyOCz7"
    "VWU2MyYW7O5tGvN1eX+cKJKNJGAXw9+h+yqKfP+rEJa0CwImEIhEP+0Yf+b+nZ8Pri6iy9"
    "wosHnKVV1IQTtw7b1wQt1+/AddOE2lobFjGSRkvDjuykS8KXzJ0j1d1Q/RgWJfZ97pvWwD"
    "+26dy/IRYFnzc3tmNd1y1z8M2gFa3u4y/JeMbY/CUYScQlCMdWCDChCPjh4JRzZpmBUz5j"
    "S3iWG5i4MzBxDXDi8xz9jT23krfPMfflJ9vkOwdvkJOFI/5vXX5NXX7ftbLsH4LwChDloL"
    "nOZu9GXPrz34bly8nao7+4uvwlbJ5eY1L27XpyZFeTc9tfSI4PoIvYNkjWyl1T68z8zhJT"
    "DkxHj8DsSxm6j7vIAX0DtV2k9CMxhfE7wdQiZpNVZ/NBIkpl5YipUCHFSXbnfRxvVy31np"
    "w8P3nx9PRkrY3WJWVKKOsypBeCDF/LgcUc8r3ZynqQ4CI8yoGvI6MidVc4j3Io9wBrtLDH"
    "kRqg9Xz3jU0x4rosxzssXsXXBDr7KM35u+uFvQ2oehCabW2zNBB0mrZdw3SWdGSz1gajM6"
    "TbsggP01XNAEB5QslK5C1zCZ3a78kq40TlR7t8TDxsv6RRFO8CxS5erhGW7FCEP+DjCQ+8"
    "zv7N6/6b886P+4HYBiYs6IwT21gVHKJKteiWwW00alvjUFXfRr5jMWwGaBdW+Kc8GOUJZA"
    "xPgb1oSWEE+QIN+yY8W8qRyWyiKh99/Rrr6M/Q069fH+fgcFt9VRVozrAwrCtmORY3Dxhd"
    "Fe1WzfU9n1JdwyVghd6zZxVwBWhVCCzIunLkbQL9Ia7jqhWhKs9TZFqDQWDCL9chGHL4iz"
    "1nrc+o3PvSr5lZdz/7zNj2lnkbnsUubUShs08rYmIm1BUerexvF8HMCIJhxDKgrYMbrR01"
    "/Z4kZevgauf2aLLjKi12S8Wo5xmD8fpyUzDd8lYzUExKsUqPsYxME+HNL5Ewu1y2zFpyt7"
    "be8Ln4T58Gb2pshPo+NY8EzXZMsM4/J74t1zgk3yT+OflXp6YalIe15bFVDiN9SkT8AdgA"
    "U+KJzegFdufElLbw3fVhEIYWzKr4fJEsKjfQQEE32rKI0+0NzgMyIXYohNANwWJQo6WIG5"
    "AwrMVE1CCaMLc9j7NL7fgRmN8PDJwc3RirLdWMDrQbBXZH5awj0leVz0IepjJ6EathgoLQ"
    "PvjNhJ6TNgz2YHy8TO37/iSCSMTkUHFG8Ew5BzKqdfuva3OWaO0AlOjihxA74fmGQYipX1"
    "AEZ86oDH4tdsuylBq7Z9pGDsHrJ9QkaminoG+L4QLmJ8lSjJ8IuoNi/ZurT2cX5+jj9fnr"
    "wc1AxQOvTQhZKYqggAYQ+PV5/yINPFhWbLzmKJySkOssaRt83Tz4WloBdYDRNYHOOr4hIL"
    "15nFNya/QNTMGaZ58yhC27K7BbRtwAF81amdeSVIewcu6GzwvieXiaw+pbQqLihIfA7V3b"
    "KXsTPLt9f2ljwX3gu7jNgsuSlHuDRD0Y6D1p4S8cEZnRaI8lRdtKWm9Jq5PYjSSdpG0lrb"
    "OkXeJY2GiYmy1B2u6bai3oe48Z0SxAsQ0X1UkaBxEuGhNA3g5YQjwlO2BJeO72DbArm6wD"
    "19Q2lDgkvczbqMpJON6Evt4xa5AU1H6JwK+wIAu8hzUxVFj+jjI7efS/ZDRecXiNrPFmuP"
    "dMJodJgj7tWW49N8km1CJ1k/vHaQ4QydtgJG9slIuJPHIwr5VOPknVxkxX4TS8kRObB2yq"
    "wes03QGO7C2k54/Ufy0lnqQ7JBBv10kAqZmnUgoZv25/SDzfGHA6AxN/luN5F7IzImj5mQ"
    "dEr63Bqlo4omj1bxX9u3cxTh2Vz6VTj+OddRoYx2WGyDsu/m6jnw4Ao22jn9ropzb6qY1+"
    "0nypbaOf2uing+VzG/3URj8dROpAi2CPjJrfY5dH34ZM6LyT3mZSK55c4pLRK9taqRG4J2"
    "JXk6VU6m2I44OY222I44ORdBvi+EAkjY0ZyYv5YAyML7tAxGuilHDHQLXLlbkg6Cc4Sx9c"
    "3I1tRLBrUeKKHB/d8KIMD74fyS1PGc8jUYG7p0Q4u7q6SEj+bJB2Oz59ODu/fvTkcRLKy5"
    "rOD+uKtyjEqmYK5vsIUSwOoMukmqW5W/E1LnWNX1ayZ/ZuUdhiMvI2ldKiOaeSSTQOhVfb"
    "DMm8Bv5c0AXlnZyIzKiyWxaQKXg8skS7igGZ79gSLXxjhrCY/fLqNFDR6hqjrrywRtz1KP"
    "T0MkgyJFNs+iJXE7SDQmrlZB7Z3GOrhG9OXELK83CqK+3qoKUxEn1jy4KMkGwR3DWkuNko"
    "8+OL4wrg6YvjQvBUVN0STamkVNOAjZHtDwoRZH/ClhUEIiMDRv+YBGNeJp9t8z3tMto9vI"
    "s9R7HGrmkvVqvxG+Gr3D02dtnSI+rSL49ObWFKBdmIA42Yd7FYNaIq+jCG0BarRNDBtcJt"
    "w/Z6K0N56x5jc0q0zItbclV4i9QeqhJM7Cg23nzZ+LZLK+aDuhFes1NyWpxZzE2/X/uwYt"
    "+h6sKE/RJB1YOK0cDT6YTiEI99C7vlBxWzjUrtOB40TwfWVU7cqehTBw1VsmLx5wSWYh/0"
    "yCu0dCnnwgcQF0eHKcmxQkILU3Vu9AVVTMXEOcf2GKKWxxDb2MU2dvFw2B1qsCyni4Oh4z"
    "R3ioLWjdm7DoMGPuSpkuJAxjXBQYztXUcwOi4b4zG1KM/deSoe8BnCdtTfYdTv9676LaDX"
    "end94rJFgH+Jnmu1e96CW41U0j6gHpog/J+ZOyfgB8rjj50cTzHZoFvmJS5l08pgvzpzqW"
    "5GwHPioT/Z2IvmI4wz4bIEN1MF1y/bNvNtQwZYiAtv8rYDNvXY9vqcXczVO1yLUzfDzD5k"
    "l+m8Y3I8muthTM2uuOcGOYQ5OREDVXyRrWREieZ/VdssotgHoyy8GyrcgpZXvGzmxqGt2G"
    "oaxa63psL2Nkg8QuwmMo7IWgFrJ2BNbME+cakxyzMCVU2p9YejNrcZf8WC3bDR9VCA9jue"
    "dCy2sRqgu4eN627FlhKTqgaHVfMD5O6T4yrRlNCqOGvO8XFB7r46pmqMZB9sVa0AxHtdzH"
    "78H5o/eKI="
)
