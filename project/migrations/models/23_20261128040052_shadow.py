from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        CREATE TABLE IF NOT EXISTS "shadows" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "model" VARCHAR(64) NOT NULL,
    "share" DOUBLE PRECISION NOT NULL,
    "first_id" BIGINT NOT NULL,
    "started_at" TIMESTAMPTZ NOT NULL,
    "ended_at" TIMESTAMPTZ,
    "key_id" BIGINT,
    "who" VARCHAR(64) NOT NULL
);
COMMENT ON COLUMN "shadows"."share" IS 'Of the uploads, above 0 and up to 1.';
COMMENT ON COLUMN "shadows"."first_id" IS 'Predictions from this ID on are compared.';
COMMENT ON COLUMN "shadows"."key_id" IS 'API key that started it.';
COMMENT ON COLUMN "shadows"."who" IS 'Name of that key, or who else it was.';
COMMENT ON TABLE "shadows" IS 'A comparison of a second model with the default one, on a share of the uploads.';
        CREATE TABLE IF NOT EXISTS "shadow_answers" (
    "id" BIGSERIAL NOT NULL PRIMARY KEY,
    "claimed_at" TIMESTAMPTZ NOT NULL,
    "completed_at" TIMESTAMPTZ,
    "model_version" VARCHAR(64),
    "all_predictions" JSONB,
    "error_code" VARCHAR(64),
    "default_model" VARCHAR(64) NOT NULL,
    "default_version" VARCHAR(64) NOT NULL,
    "default_label" TEXT NOT NULL,
    "prediction_id" BIGINT NOT NULL REFERENCES "predictions" ("id") ON DELETE CASCADE,
    "shadow_id" BIGINT NOT NULL REFERENCES "shadows" ("id") ON DELETE CASCADE,
    CONSTRAINT "uid_shadow_answ_shadow__233ded" UNIQUE ("shadow_id", "prediction_id")
);
CREATE INDEX IF NOT EXISTS "idx_shadow_answ_predict_3c76a9" ON "shadow_answers" ("prediction_id");
COMMENT ON COLUMN "shadow_answers"."claimed_at" IS 'When a process has taken it.';
COMMENT ON TABLE "shadow_answers" IS 'What a second model says of an image, beside what the default model has said.';
        -- Images that a process has taken, of which one that has ended left some.
        CREATE INDEX "idx_shadow_answers_open" ON "shadow_answers" ("shadow_id", "claimed_at") WHERE "completed_at" IS NULL;
        CREATE UNIQUE INDEX "uid_shadows_running" ON "shadows" (("ended_at" IS NULL)) WHERE "ended_at" IS NULL;
        ALTER TABLE "trainings" ADD "progress" DOUBLE PRECISION;
        COMMENT ON COLUMN trainings."progress" IS 'Share of the work that is done.';"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "trainings" DROP COLUMN "progress";
        DROP TABLE IF EXISTS "shadow_answers";
        DROP TABLE IF EXISTS "shadows";"""


MODELS_STATE = (
    "eJztXW1z27gR/isYfbncjC7jOImTJp3OyLHTuOfYGdvp9Xq90UEkZOFMESpBWlHb++/FG9"
    "9BmqQpCZLx5c4hsSS1Cyx2F8/u/ncwJy7y6PPRAv+IVoN34L8DH84R+6NwZwgGcLFIr/ML"
    "IZx4Yihc4PEdWomLcELDADohuz6FHkXskouoE+BFiInPR/80I2AOVyCiCIQzBCgK7rGD3g"
    "MyFf9mTwI4pMibAuJ7KwDBDNIZwJTdWYTP+Utc4rC3YP+2p+dFPv53hMYhuUWMImBP/eVX"
    "dhn7LvqGaPzPxd14ipHn5tiEXf4AcX0crhbi2jG+PfPDj2Is/9rJ2CFeNPfT8YtVOCN+Qo"
    "D9kF+9RT4KYIj4G8Ig4rzzI89TbI7ZKT82HSK/MkPjoimMPC4BTi0/IL02GI8vLm/G16c3"
    "4/GgJJ2YIsNgdckhPpcs+1QqGHDLP+GHPx0evnz55vDg5dHb16/evHn99uAtGyu+t3zrzR"
    "/yY1JuyUcJnp399ezihn8QYdNHzit+4Q9BA0MoqYQwUu6L/5f4/2EGAz334/EF/rMfVuR/"
    "zO06AcQXUgmkU767CNiEhiFYILLwEHCg57HZW5r1FUKZw29jD/m34Yz98+hVDb//Prr68G"
    "l09ezo1fd5pl+oO4fiFmd/yu5FNPGwM9bN+Wqe54j6Yfw6Zv7ghumKBQzCrN4IuSiYpvAJ"
    "UytOgLoJ4sVRA0G8OKoUBL+VFwTXYG1kEI83et5fTrmeVowegutPox8OXx8B7IMZ+gZd5O"
    "A59AxZCdQh/BktRJBSGC2EAEF3CJYBDtmjoDvH/nsmEbYu+KeByQo4ZD6H1BAxsJnCv2sM"
    "w7IoTtidEM+RXhx5yoJIXEX6PP7DHAE13qBrWH1z9vn0+mb0+Qt//JzSf3uCX6ObU37nUF"
    "xdFa4+K6qn5CHgp7ObT4D/E/zz8uJUsJPQ8DYQb0zH3fxzwL8JRiEZ+2Q5hm6WJ/Hl+FJO"
    "zOjbArPHdRBznrIHMaudxkq5fykH6J7cdVrMeUorZZOlzNy0LiLOkO2MfAfn7Au81RCERF"
    "iUbDONQtRw69x1mXOPeXqX8dr4hQl07pYwcMe5OxmzClHKeKcxrI4V5ccfr5AHBYPLU0HF"
    "LK7lU3Z3006vqrkquEkOSRU7y7fmh/PiFejDW/GT+Lv5mxS7PkAPTwKovrUUAcreHtaFgZ"
    "x0YONQEHOvmPLGaMnsfrgCcEKiUKwVxoIpdpHvIModMgjuUcCFKv8h3q4LBT36eZpQ0C/y"
    "xw5ijo0V6eBXGyTahSBRIr2mrlpCYLKn1lwIa/bB8muiLZuzhJbdDdit1FuZ0ZXaJEPxsE"
    "rZYujhSnwncpkGp4yAguUM+QCHYAkpDzssmPHkNg08SM1z+OLVm1dvXx69ShROcqVOz8Q6"
    "JRNoIEGAHI3VWsn1DIXZXMe3sxAQn+2LcE78W75bzrfEZfbblVHRkMkpgdE8PhefGQeW9c"
    "bLZjgcovmCcyQKNOcmHz0CKxhdoCtwe8oJzXG7TvA9M/WoYLZHbnlQmbE+YwG+Bz6b8GCJ"
    "wxnzzQiYomVsNj7eOzu5/Hp8fgq+XJ1+OLs+u7zIu2PiJr/ELuBQcO/qdHReUjdS23UJbO"
    "ZJbWRzlz3jtbp9M+gL7VL2+OSdYa2zJ8Y09PNGQA6X52mUzNGEuCswhy56xzd4dRY/BNB3"
    "gY+YSagIXHVyX3b1+nnkwwf/vwxoNPmdbeTqAJP9zsT1s76ecb6eknEXvZmjtGrTOLWZ3R"
    "/v0EqLQqhbaClNJ1txQ7bLpbQRR1/OUgAC9394/LudzbiRlZiKZDkjbZx/Ndxkl18gQpgQ"
    "vqOA/8ghIAFzSQlgWyFSbqkhx+BqU2rB/pTCaAksAuRi8anPlT+N3CGXyXN15DcE/4oODw"
    "6Pusjh5WEDObw8rJQDv1VAheRMheaqKU9ntCt75sZubCobsTJS1JTRamqCpkTn+/7t+vJC"
    "L5yUomgUsF8P/gc8TM3ZP/qwBjgrcoZAPOWffR79o7gaPpxfHhd3eP6A46KKmoYoaMP2hM"
    "By/RFcd112txVOLUPSaWvYkJ10gcIlCe6A+txY/TgeRv424bKmOPcRDcn8szjI0nn4mdvD"
    "WjdfDBynd5o4+2K0NF09BAOfAsjt14AZUmTpAxm0BdOAzAH6BucLD5UNqUc8xqL5d9R53y"
    "6af7sCWLOHMIG0FWvj8UZ7B0J/cZeM+WNoPkGuy1hMuWum9AXXDYa4aFVHW9UGUOXZVjsL"
    "aGOOgS82YBK4KOCY/eUMOzN+aQWWKEB8o24cwdi0mRQg8fJxhZFac7JeoDPadbtAy2SjBO"
    "KTlZDYghG/g3J8v4yOvwcH72TYfFsHlfzR7IWtfekCocmxvhv1qUqFxYg0TEUOo+HxPpt6"
    "0UV92Ui7MasvF2JXc7JFqqUNsve0K7GfJr13JgYmD8PC7J1g7PEuq1k2LWDsp/Ip5sjq8T"
    "B23Q7/SC7Fm+g+sWmdkaET5GBuZtzM2C4xI4UASOWgYV2UyFXDx2E8vmGs6CMP3kgjNIVn"
    "AWYDKUj+dzQBg0LmQ9AoYA/haFBuMPncXFV58sx4DRF0cxA7Rsy4gKeIaqpGbPTNNiK1ox"
    "GpbacO7HVMiq+pMQ/RlBlcg0TNUZmNQ70gPnontYLSBoBrSg5NhbeMzWZgTfc+MnXJdS5I"
    "tyYwZRYmRwyqIwRDg1KLQO2qrZZHjsrs5XE94zsr2zcDkYIQb7dTkolLLdMtVxz0mIXSFh"
    "/WCWuYIbQBEBsA2cr6ywdARAjShj9s+MNEOMMJ8vA9CrQVCpN7w3oXVYzCzVMWlmgyI+Tu"
    "HU9D5OdXGcAb8++Q7/JAfcgMCpljMCNL9qxACnImMxbLtR76fG6j5IUQhpH4yT76FrIdhy"
    "dy8f/bDAZDXc4o0DicN0x4euar4SbruF7MhtN/3NRb2InVcH558dd4eNHsLjigyeIo7yin"
    "fjQXHD9jnwh9B5Ud0YTaZOYPlhCH/IzxGber87jd74dgwfQNuzsESj8il+8/U4g95HbZdf"
    "ovdahUVpus4CzJ5k7kD9arlno7WS9uBC19Fw35zhRkepIODHvUgv06NK5SdzXwlhKlyf6M"
    "Sp3yIA2BmqBbAq+gICAaHFH1Lp4QmAy57s7fTW/sFpvyJDRbYrN0EHSR1u5hJks6tVlbx+"
    "JKpGvawvbVU90ZSOZ+CqAUgNMtCs0JEQkQvvV/RKuSE6uH0XzJPWynhFEFo2GXA7hMAlxl"
    "TcD+YL8dyfOdD6PrD6OT04F2yvfA4BY4pd1kb2GV65m7nfDxaZwcMtDEj9Obw7oAcppg0i"
    "yALGqRQsATaVQmW1yZSZYcxXP2rUAmF8u+Bw77S5MI95gHaauZ5vWGRKzYUqbGaPxhTXB4"
    "23ikLZu0tpTpXrH7HjmhLk5yjH0YrPScTmkKLJ6sQnm2ZwaTB5+gNwUJGmcIPByGHuLnex"
    "j2gPw6ViiixHtjfD4+uxhd/awPnBxrUEfHP9+cjkqVB11Nougx21cqAiZqfEEaHPpmjMs8"
    "GIEJDgWwCEFnxp7A9vKkYomcUaJI/5S9F1A8xx4M5L7aA9JICKboS23doTVO1zxtj8o0cf"
    "TsU23J7FcJNDqjP82tqTH5M2k8TRAj0hIPpb0uK2coiz2Tjy4APpijGpFzx2x4XoRWBxN5"
    "3MPq2xjQGTx8fVQy+jMjBDKW/8GkykZl7og8bgsgMddHUMJtYb2mFCabrfH5k1gYhrcHTJ"
    "ZP0wPAhMBkCRgL5Imqips8jOKJdqDOiVD4XNMLNd9lhr9tMMHfVs7vtyVMTrwHlJhef+iW"
    "pbNnq0afuD0R2LuYkRb2bmHv1Xs5t7PHMu9IsxwIYdrZ1wuiQFkMWDHSTUqk0m2RXyiw5S"
    "2XQ93Mvrw8z+k6HgPJ8/zr5+PTq2cvhCjSPKuKrjDjqsKtD9hU48ryrUZhq85CKrMR44Mc"
    "GIsl7VpgKNhKxr7b7hVZKhvA6rw17EIccT9d8JowYsUpXesIYqFK644tiKYhxKwmeBiRYX"
    "SI1kRYhtER2jMXzRckRL6zYlIbaAK1hRHDungtTseOmU3ZNG7rg2jhEegmwVZRQxrM4QpQ"
    "no4najWI0CpvJjuD9zydhpmoLu8hJm8+++23zIf+wL70t9++10R11/qqJvmAjgeZb/1A/P"
    "ZOMrqpv6GG713Fk8PXrxv4EmxUpTMh7tVHa6fse1CwCNRu25TnBTKjfb3LKfPs4jY2Yvrz"
    "vh1Gx2+3blYZhiXfjnELfbrU1eOtdvlSCpOdPd5XaIoDnkYjvlcUFlPFTmjz9gUbz6pJ94"
    "6SSB7IqslR2siv0ZFfsvR1i65O5yUkBuu6wci9x5QEK+AR5y5tYkScTPsQuT0ZFww2pAqH"
    "cKg8VZBTZ6tn79db6sWRD1rpXGdyI0rAoGWN8ne8azUIyLJsaD84uueKjF+/np20wDZEEX"
    "afc5r1WMiDP08jX5ggQLyJ/+fVXwYt14vAnQs8ecjm460I10tMHEeczGFQiV5prSNlpzWp"
    "9LLqTLDoAbTDEnVKY8/S7UzuH5MJ8mMhxF4i5JNa9lgQqbke4Y3xONqxBzti1zYvxclxa6"
    "B8idBkA/JDoQjt+2Qy4HAo23D4Cjv2+fLk9JxZlR5yQltI6vkXtkJG0knQbGCZu7Xb14KN"
    "G0vbvV02kATwUYhl7o6fT96BPhGlKrkfAClbxO8KBVu+49Wf+IylydmpUFSl/W/9r7MljY"
    "12oms2zKdQ9IhGjoOQa141o5AsxnVHGNWhjTKlwTuUsUjBtNa75viouqpunszosrp9sL6P"
    "4rjMvcvM11b1pTWktgls90LSNmnUJo3uD7tFqayxPk2xmtd5qn3YOTfD5zmilLkMbQyVEu"
    "E+cHvTdsrOVL1cv7/UW1U+5rsE3arC5Sl3Jlz4JI+veHEUjm7qdE5ZoLWSNlvSQYCcrpLO"
    "01pJmyzpAC086HQSdIHUYg+MFvTWcVeGgXyNgLNbyPU+Qa4zAtCdgOXEU3MClg/PPXwAdu"
    "mjBPypjqF4d5Ol7qBKk+rUhb5df5RSoYv4QjnwHt/JRIXFv9P8V4r/g8ayIpW4k1ZYyAd9"
    "5GNyNaf5w+3RmZFHZ1PsIfF3SQZ1QO2UZg/jez1i5DOznC/v8QKyN7TgdJ7KZiM04TR7Y4"
    "j8ULKpBa+LdHs4s9fQ7zbdFFop8TzdPoX2Nl1HAbs6lVLJ+GT8PvG8t3DqDPG2rS3YmRJY"
    "furC03tat8sc/btzyKeBas82aMfxQdLVTaU3iL8tJmoPIrcWE2UxURYTZTFRhm+1FhNlMV"
    "F7y2eLibKYqL3oBOwhSNEYfVtgtlN2OFvX0Vsghcnn67YxavXiYj/QvfS9lZqBOyJ2tVhq"
    "pW6Bj09ibVvg45ORtAU+PhFJQ2eGdJiPurLTKZGhFadF4jxyef0C6AMEAw/zdlw+G6vq8F"
    "BeHlwceQqUj4gKGFWTen/L46suK7kq+SnwyuxC+eztzNOOFhXR1es59LxqrFSReLunlAea"
    "haO8WSkU5LuqAA8XGA7iw573/J9sZQUI+CQEDonYD2tZ0+rl4ZujRFL8H3Wyuf48Oj8vC0"
    "PWL+8I2s6R2j3K5D0qEdakVdXYApnBAbFMs4pELxrcr+IeBfwoSC+Lh8+5M+Qmy0ScPgbz"
    "pGgNCqgoWCObKGAqrgq74TumEXnvpNjw7SKl/g+95fQfU9FhsK2FVybuZultSFZXaqnzMq"
    "cLGITxWgqYbUfmQP6ModitJsiBEUWp9GTVYDZRg5DJxigb0GGMvSUB1uH5qg9y81Q7cIY7"
    "uI7mSYHM9NBfXGL2lFxxlNdxFs111e9bPV5Uazn4dVVD5q7qMUtvsn6kEbP/mNqLfP5XF5"
    "3XQ8+4FkXfshLyMNuEtMvqWNF+/PEKpdVD9ZlGJ/I5K2Nk8ug8o/xZ5HyCXI7yeiSbTuPn"
    "7GDMvhmjMl18H8GmtGHwPjKpWNGwO6PyNRT3kVd0Bl3uIvXBrWvxrP3j1zozGK8Yf87xHI"
    "cDTQJjenNYl7/IeTz2+LiG+YufyBLMI2bfwMT9gz7vl8dsDToUzfOY3SrSD5eycLLo6sJt"
    "WWYZQXYRe5pCnf09tkm24zRAqL71C40mv6Mq57HijDAlMTfpSjYh4Q3TeTxZcbOTw/72oI"
    "lddFBtGB082BJGSakkg/qgWYZsd47nZUVr7kaIvF3mPfjMB5RzXvQ7eiI1rFtYyutUrdc8"
    "WUCfGR7fqlWrVA5q2nkLTAKypCiQAW2Kb31+xiAbYEmNqOmh1ZCoiT7MQJeqVSLTwa3yUO"
    "PxZitD6cyTO4yMbMVUrR0thGlvlWDea+uKSuwdj2jFvFdt5huIcz9LW9SU+NF2fGxd22e0"
    "wKpH526JoGldn3TimVTQR4YQtCabvFNvsYkxjQ02DhSEAabEF+F/QBHjmhsf1SgsAlASUp"
    "Ae7qey1wQo32WrfF66jufbPhUGa6Q6O89m6K03GZ4vGI3Or873TSg6pvpuKqJwmVMCQwAn"
    "5B6BAxH4iRYgJODF44MKfWQDixagra2fLJXJdTQGaSk5CqYBmTOpYArOToTCDpBS9W2RaR"
    "tGFBqUOmGahtonN0RgKbv4mhk6i1I0WcL7C9jOIbWV1jEdqL2ckTamnRpusmGXAYkyMZiH"
    "EO0ExbFH3Fs64s7xrNKzb9KqsgxWaNysMud7U7ii2SaSQzBBFLtIHktnnXI5np9c83q8lb"
    "0p+3u6xsX/Rf1uMSvTAlG/WtffnN2g5ojHg8xe6nTEk6PcHaNbHYMn7ej5/A7hHW/23HQj"
    "3ydjzaYyPxVJb7lQlGGSXXfQz9afMyUNwVbs2syMVx88bn2aUCI02fk0jt0dFLqG1LK8Bc"
    "tFGlaZ4dU16UqEe8HuOuNoHUXpbMcqE+KJKsrRVgI5MpMP0wxkfw2aKI29PBJQlAJYdkwM"
    "TRFFuQmoBxXplU0PzLWd2LYM3LqBk8iDQX1DtvKgYV24N5TDi65a45ivoi80VCM+AgFZ8j"
    "+nCIYRc2zeg2WAw5BHraYhCtQBB4CqtlNl2LfXFzTB+Of6udmAr5EBX4v1stXY94fdsQZr"
    "E17L0jwqrmYaszcdWGvtBlv393HuL5nACfZw2LIMTonQzvpHzPrdrhP6EMAprheqUKQIiC"
    "83qxaUzUrc1+NKQ1KzbzhHJZ/LTmJ8b1jrG6pRjZN9YgKZiuNENGTrTzz4PfPYHJS2lBuy"
    "+8pMrGrg/fjHte/nbd09I9293WvE2GHX2q0ejIzrEwklzIukckWkBCZjo1UukNIlQ2lBNE"
    "3/6bvdToDYb6XdrIQirbUTjLMTDE0bMgzwsU9StjDFpyLpJ90pTYKTcUgTeLJHKKJPE5ps"
    "mxD2bBU9kcS8xICzqXk2Na/67EgWU28TSE8pLB77EXjsyiLRlUooS2KyGroQnjqf//EXb8"
    "n/jV8/pjN4+PqojZbRkBqMfudhB17SNP5qUXpE9miSq9XIkoupoCbcWO0AFyjSGSwiY8AC"
    "c8Te77TS+BkSq/K7q/zK5PaaJKiUZAc4LyF3TkAo/eEeetgVifoJgg5MmRUkWrYoPWVox5"
    "YZglr3wIfBSi+mmKJ4rM37SRokHYRvZyF9x5Pen/uL/4CprkJ8+0NtxdZEBkwEx2cXo6uf"
    "9TiPY40Yjn++OR1pxNBh5y6Q2S2hSUZPVYuiumSe3WhL9NNsxR0uTAFFwT0/6eWuGOTBJa"
    "6OoGrk1kNgaR1oJ5u1uZkVIDk2R5TCWw2rq5dBiXAfuL0FTB/fCDSWUU11yCxRxwKRm2pn"
    "ly0VuyTBnYwLMZXkEr+HDbiP0pASeN02LJqlsrmEPSWzVeQmtE63+iDwTp/jp+2WJJrmW2"
    "VnYNtUK9sBcMtFx35iuhAFX+QZ30ADM8wPGNZhDZdiaGOkYXywKDQxL3xEwe9kQlPEL5MK"
    "FxDkp47AgzRkXpNPeF9YfqBCkTfVIQ77emzPRcS/fj07aYEzjCLsPuc0XfTGw3DDwZ+n7A"
    "eL0IB4E//Pq78MNm/MCLvlpTzczXqj4qfXIwrF/1uY5PF4o4+tPhExH91kGmPmLnEvaYFI"
    "83BN3lY/fP26gbHORlVa6+KexlppF8JMKHYh7UMG0tLuZJDeyfCZoREzg9BnFmS4RpAhQn"
    "4XGadkVsDGCdiQbJMRM7+dmc4IVHdqrT+YjnnI+KsWbM9G11PJ7XjkcX21jdXhQHi/M8fX"
    "YkvxRdWCw2r4HnL3xUGTRrtsVHWWy8FBkbvsjSHyNVtmtamaIdkFW9Wo4/atbmZ//B/Qku"
    "ri"
)
