from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "embeddings" ADD "code" VARBIT;
        COMMENT ON COLUMN embeddings."code" IS 'A bit for each number of the vector, to find similar images.';
        -- Vectors are read for few images, codes for all. They do not get smaller by compression.
        ALTER TABLE "embeddings" ALTER COLUMN "vector" SET STORAGE EXTERNAL;
        -- PostgreSQL 13 cannot count bits.
        DO $$
BEGIN
    IF to_regprocedure('bit_count(bit)') IS NULL THEN
        CREATE FUNCTION bit_count(bit) RETURNS bigint LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
            AS 'SELECT length(replace($1::text, ''0'', ''''))::bigint';
    END IF;
END
$$;"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "embeddings" DROP COLUMN "code";
        DROP FUNCTION IF EXISTS "public"."bit_count"(bit);"""


MODELS_STATE = (
    "eJztXetz2zYS/1cw+tJ0Rs04TuL4ks7NyIl78dWxM7Zyba93o0IkZKEmCRUgreju+r8fXn"
    "w/RNKyDMn4klgElo9dYLG7+O3ivwOfuMhjz0cL/CNaDd6C/w4C6CP+R6FlCAZwsUiviwsh"
    "nHqyK1zgyS1ayYtwykIKnZBfn0GPIX7JRcyheBFiEojeP80J8OEKRAyBcI4AQ/QOO+gdID"
    "P5m98J4JAhbwZI4K0ABHPI5gAz3rIIn4uHuMThT8HBzYbuFwX4jwhNQnKDOAXld/313/wy"
    "Dlz0FbH45+J2MsPIc3Nswq64gbw+CVcLee0E35wF4Q+yr3jb6cQhXuQHaf/FKpyTICHAQS"
    "iu3qAAURgi8YSQRoJ3QeR5ms0xO9XLpl3UW2ZoXDSDkSckIKjVC6TXBpPJxeV4cn06nkwG"
    "JenEFBkG60sOCYRk+asyyYAb8Qrf/eXw8OXLN4cHL4+OX7968+b18cEx7yvft9z05k/1Mi"
    "m31K0kz87+dnYxFi9E+PBR40pc+FPSwBAqKimMlPvy/xL/388hreZ+3L/Af/5hRf7H3G4S"
    "QHwhlUA65PuLgA9oGIIFIgsPAQd6Hh+9pVFfIxQffp14KLgJ5/zn0asGfv9jdPX+4+jq2d"
    "Grb/NMv9Ath7JJsD9l9yKaetiZVI35ep7niDbD+IcY+YMx1xULSMOs3giFKLimCAhXKw5F"
    "/QTx4qiFIF4c1QpCNOUFITRYFxnE/Y0e95czoac1o4fg+uPou8PXRwAHYI6+Qhc52IeeIT"
    "OBOUTco4MIUgqjhUARdIdgSXHIbwVdHwfvuET4vBCvBqYr4BDfh8wQMfCRIt5rAsOyKD7w"
    "lhD7qFocecqCSFxN+jz+wxwBtV6gG1g9Pvt0ej0effosbu8z9ocn+TUan4qWQ3l1Vbj6rK"
    "iekpuAn87GH4H4Cf55eXEq2UlYeEPlE9N+438OxDvBKCSTgCwn0M3yJL4cX8qJGX1dYH67"
    "HmLOU25AzHqlsVLevJQpuiO3vSZzntJK2WQpczetj4gzZDsj38E5fwNvNQQhkRYlX0yjEL"
    "VcOndd5sJjnt1mvDZxYQqd2yWk7iTXkjGrEGOcdxWG1Ymm/OHHK+RByeDyUNAxi2t1l91d"
    "tNOreqxKbpJDUsfOcpN/6BevwADeyE8SzxZP0uziNmsgvflS8Ee3DJuCP47s0zL2MwKqu3"
    "KsGPHRlLgr4HPr/i03/uOgDLc8AxcE6A5RTeDqEE45/LOZW66PAP06YNH0d+SE2pPl3yk+"
    "6t82MmRkZEjLuI9nkKO0noFxK0vWmrhFq8pwVNNES2nWT7bHsx0uVRRq9PksjUQtIRNhbr"
    "et973FmZiKZDknXeIiurvRQZGxCgd+w4D4yCEgFPDXBnwpRGKJWRoTD9GLUgf2pxRGS2BB"
    "kYvlqz53CKV8GUbuUMjkufb9huBf0eHB4VEfObw8bCGHl4e1chBNhfBgzlRor5rydL3U07"
    "YkcubGgfJUNnJmpOFzo9XUFM0Irdg8+vv15UW1cFKKolHAvx78D3iYmbN+bMIaEKzIGQLx"
    "kH/2afRzcTa8P788Ka7w4gYnRRU1CxHtwvaEwHL9Hlx3Xd7aacMiQ9JradiSnXSBwiWht0"
    "C/bqx+HA+j4DH3TTvEPx7UuY9YSPxP4segysPPNA8b3XzZcZK2tHH2ZW9lunoI0oABKOxX"
    "yg0psgwAHyn8ZmBGiQ/QV+gvPFQ2pO5xGwvr2FHn/XFhHY8rgAf2EKaQdWJt3N9o70DqL+"
    "GScX8M+VPkupzFTLhmWl8I3WCIi6a0VRcDKKW4lwW0NccgkAswoS6iAryxnGNnLi6twBJR"
    "JBbq1hGMbZtJFMmHT2qM1Fr1X6Iz2nW7QMtkoQTylbWQ+ISR38EE0ENFx9+Bg7cqbN7Nmz"
    "t88erNq+OXR6+ShSO50rRelP00eWv+wM6+dIHQ5FjfWL+qVmGc2WL/SmxdCDCr4fE+i8Hp"
    "o75spN2Y2ZcLsesx2QFza4PsG1qV+Kcp752LgcvDsDB7LzxDvMpWTJsOeIZTdRdzZHV/PE"
    "PVCn9PLsWL6D6x6SEjQx+Qh7mlUZn1k7QNm2JCruqF26M/lmg6J+T2LZ/X0hXI7B18wwAK"
    "XGHzhMRzFVxjTpb8XlSphDlkAnxcxk9t8r6tcCAhDCP5yQH6GnLrJUT+QvxvwSCGxpMi6p"
    "XZP+bCq8Eaqu4mr5YbMUFPfx43e9CJBXp+efG3uHvRrS7sfCaTo2ybnAaRLzl+xl8RBg4q"
    "738m1CYzf7CEOBTu2rMZoYUt0G+HYMH1DW8dAq0fuTXJu80g9pDbx37ZfPqQVlkVYqpVSF"
    "mS7QU3Dh5WLW0sSFFcCEp8bXaEK8h3BuT8JJ1hfqsF/zo0qVN3DZHCEqXJvrFGoXmQhUAP"
    "0EeKAyJKSUVItn4VTwhM3r3uz99tL+w2zPckNFtis/QQdJHWrmEmSzq1WTvHdUukD2UR7q"
    "erWgolVgmlLJEfCEX4JvgRrUpOVHVE7HPuZrsljbqQGL9M4TKJsJSHIv+DfzwKldc5un4/"
    "+nA6+PNxwFenMRZhUBFjSxuHTUG2FM/QLsgmq4dAIHAbGjjlEH8RiT0NMuMN2OfvChSWVd"
    "VbcPhfFbir+9yoIoz2a2Fsy1uqiJkFZJmglYYNATQ/Bgi23XBKCEyO4xgDypLcmuht/85s"
    "zhJadrdg9x1ywipf8gQHkK6qOZ3SFFg8XYVq/8MMJg8+Qm8m4pEOZjIjw8Nh6CGxB4JhcH"
    "/f8kQjqRILl/P55OxidPVLtXN5UoG8OvllfDoqupd8JFdJJGQ1TqXuX5DGBQnMcSsGIzDF"
    "IRBBYgSdOb8DX8uTBBk1omRxgBl/LmDYxx6kal1tu9PdPDVOzopRlF0w+rera6zVb5I49s"
    "Ps13iNKqM/hXI0mPwZ1EibXXVliYfKXleJGtpiz8CfJZwGM+DMkXPLbfglDudVW+n3u1ml"
    "4Z8Yg2wOD18flYz+TA+JdRZ/cKnyXpkWCRu2m+zm+ghauB2s15TCZLM1jtHLiWF4WcJk+r"
    "TdJEkITJaAsWCHqC6XZj3SIdqBtBqp8IWml2q+zwg/bjHAj2vH93EJtxCvASWmN29MZOns"
    "/pPRuxJPBGYuR6QFmVuQ+bqgYNe5kKWyDnrvob8LcZL9dDEawiQ1uxCdIySFogc7NiHahk"
    "iymqA6OlI94A0MQdmN544RqDMX+QsSosBZ1ZzrUugxbIpH4bRvh3NeRgGIFh6BbhJMkiVZ"
    "5FktTKRkwBso0sMxH0GRSMO4E5BqvgS7JEC68dlvv2Ve9Dv+pr/99m1F1OpBH9UmJ8TxIP"
    "cd1sSnbhWj29pTuvveFbU4fP26ha3Ee9UaS7KtORo14++D6ILq1bYtzwtkRtuylzNuucZV"
    "IeXwF2XwjI5PPbpZZRie8HGMWxiwZVV5i/owYUphMphalOmcYSqg1PJ9hwAy7dOJZcBYZH"
    "W6dpREsgZZnaO0kS2jI1tkGVRNuiadl5AYrOsGI/cOM0JXwCPObVoTlDiZanxqeTIu2NUh"
    "p/9BrXXhUHk6v73KVs+2N1vqxZ5rrXShM4URJWGequTPWyCsYkqWZUN7be8Nl9z78uXsQ4"
    "e92yjC7nNB8zAW8uD7WRRIEwTIJ4l/Xv110HG+SFytxMuGfDzeyHCkwvyIHXUf0trd+c46"
    "UhUuVkovq84ki9bs5i5Rr1TGLN3O5H9wmaAgFkLsJUIxqFXJMpme5RFRZ1qguewJLtvUjp"
    "8580fK/qzQjZnWRs244P0myizsBqRX2BcGsYK9B3ncOwyI0HPSxISMj4+3hXzwb0RxCTE5"
    "WLLtIOdASbU+/ONsOVSj/bMGXfwUaiqwyHEQcs0rlhCSxaQpOl7vNZcpDfaejQXZ8MfPsI"
    "v00C7sTHC3oob5ebIC42eCbq9Y/+Hyy8n5Kfh8dfr+7PpMl0ZNTAjZKC7xC1jtUFydjs6L"
    "cSHPy4zXTjVqK0htuf7+dWhtvpXNt9ofdstKHJPqDJ96Xuep9mHl3A6ffcQYvKlg9ZpSKV"
    "nCfeD2tu2UnSmq9fD+0saK/nDfhfYrOpOn3JlI1JPcGRF1BQRwptcWWIHWStpsSeuz+3pJ"
    "Ok9rJW2ypClaeNDpJegCqd3WNlrQjw7pMQw/agRS2qJ59wnNmxFA1Q5YTjwNO2D58Nz6Db"
    "DLACW4Qr0NJYqnL6s2qioymfrQdyu/XsoRjy+UA+9xSyYqLH+nqWMM/wdNVDEX2ZImJ+eD"
    "Pjb93MxNshn2UNdzA7M0exjJ2yDQOjPKxUSeLCB/QgdO56kspL0Np/kTQxSEik0deF2k28"
    "ORvfnYaUb9d1Liebp9CuJtO9kYu1UqpZbxSf994vnGAqdzbuLPKzzvWnamBJafVYHoPS1u"
    "Y47+3TmM00Cf8zLoxvFBcjyMxsjLvy36aQ9itBb9ZNFPFv1k0U+GL7UW/WTRT3vLZ4t+su"
    "invThS0EOQoQn6usB8peyxi15FbyETJu+k2xPW6icX/0D3MvBWg+T88F0Qu54sjVK3EMcn"
    "MbctxPHJSNpCHJ+IpKEzR1WYD0K48RXUiDghKp4jxKm2uTLXgH5ULj1ywXQlss8RpB4WZ9"
    "YEvK8u5sJEDV255SnxPDIqsIGDhS4vz3OSF4fX5N2OL59OTq+evfg2H8orm877W0NaH0WQ"
    "KyWdQqzMribNn8497WhRE1299qHn1WOlisSPu0t5UDFxtDerhIICV1dxEQLDNN7seSd+8p"
    "lFEQhICBwS8Q/rWBjp5eGbo0RS4keTbK4/jc7Py8Kg6A6jZU94do7UrlEmr1GJsKadSo8W"
    "yAwOiGUquid60eCi7neIiq2galms3+fOkJssE7n7SP2kPA2iTJamkafNiCpX4qq0G77hGl"
    "EcMBIbvn2ktPlNbzX8J0wew9XVwisT97P0tiSrKz3VRa3MBaRhPJcot+2ID9RnDOVqNUUO"
    "jBhKpadKz/KBSkMum0e3ATsUrCodeI8rgX+a9ocfr1BaVK86S+KDus9qB6NrdUkS+e2V3D"
    "nU/fmUO/Z6LxmVOb3vHmxKDwrcRyYVy7H1Z1S+ANy+8Ooh04muOH/OsY/DQUU2Udo4bEom"
    "EjyeeKJfy2Sij2QJ/MiZA5hYaDAQxyBxY5cNwVwsJEwdLb9UBTJl9X6x3GDej1/EXkXVvM"
    "3dtk3q0Ywi1Fzin0XT31GdfVcTxk9JzM2LUMXmxcGfIuSjudnLpj4+aGGtHR/UHwp3sLb0"
    "v5ZSSQbNfm2GbHd20FTlUuh5KokOOHz0T5Ea8/JcC1urdJuZmtcCz1udphk3NapVpjq1Pv"
    "l3SsmSIapiTgzfBCIMqA46URqx6oTfdkRt9GEGXVCvErkO7pQqFvc3WxkKH8gh5BYjI4/c"
    "qNeOFmWwt0ow74X0BQ5tHDJkxbxXx6W2EOd+Zp831NuoPNmrc6GN0QLrs9h2SwRti2ykA8"
    "+k6hpjOI08SJuLbJQ7NdpxoepeTAppXXRe0xeKZOiDNsSfM74UR1yPvANLisNQ+ACzkNt0"
    "+rQjqHfxa8vMb/QBbUzFXI0OW0LDyBIaNu/G5t3sD7tjDVbmdH0iX5bmXhl8pjF72yl8cq"
    "e3zPn6JJyEYC/G9razbxaUTOEUezis3MesH/AlQjvq7zHqdxsRuu6cvxgZOqPEV/Ev8eaP"
    "vutvU2jurZJ2IephSIR/LDiq+Fx2EuO2YaNvqHu1DvLHBPJAMOBELOTzT974HffYHJQWDx"
    "nydm0m1hVlvP/tutdotO6eke7e7pXc6bFq7Va1Hc71adUhwbUzIiXYgbQFrUuGyoJ40Q31"
    "vrHEaor4t7J+VkKR1toJxtkJNrf2qUnZ5tY+FUk/6ZoY+pDqkMWmDPAIE4eGt8Xh7dNIsO"
    "VmNmwV7W/ObC5ZNjHgTM+WXc5Jly0i3d1oVyzN1OOCMDtNT+5GdAqkpxS28mP/AHp97kyt"
    "EsqSmKyGLqSnLsZ//MaP5P/Gj590r2ldQWpyGurlTCLj47eWqQsqG1/NViORu6mgpsJY7Q"
    "EXKNIZLCJjwAI+4s93Omn8DIlV+f1Vfm0SYEO55ZRkBzivIHcOJYx9dwc97MqExgRBB2bc"
    "CkLQmcd66v7e3IPIaY5gpXsQQLqqSeTQFMVt7fiwFEOkIw++YG9F3uDzYPEfMKtKNOy+qa"
    "3ZmsiAi+Dk7GJ09Us1zuOkQgwnv4xPRxVi6LFyF8jskrB+SRDGQPXSW49iytIYzGOuklbC"
    "4cIMMETvxE6vcMWgCC4JdQR1yY4NBJYeAu1kK2rbitpGGUYPMsoV6rdrTC5LZdN7NpTeUw"
    "OM75zg816CbT7Fd9stSbTN8smOQJPyfH4i9BbRz2rvZFAB38p3GDZhuJaya2sEV7xhIyOf"
    "IbxFDPxOpixFUnL5CkZCsZsDPMhCbo0GRFRWEoFqhrxZFZJrU7ddj+jqhOD68uXsQwf8Vh"
    "Rh97mg6TMl1sO4Bt/P+AdLl0s+Sfzz6q+D7S8Scj14qTbNsla+/PRmpFbXc2134UzbwUci"
    "x6ObDGPMzVBhfS4Qae8Gb+Ec1nT+tw4NJRS7AKdXAYq0eAhktyosYWgkwiBUjwVvPSB4C6"
    "Ggj4xTMitg4wRsCIp/hCh25lVGoG5ptP5g2med8Vcv2A0bXU8FM3/PbdB6G6vHRtt+Z+Q+"
    "iC0lJlUHDuvue8jdFwdt6uDxXvXZAwcHRe7yJ4YoqFgy603VDMku2KpGbWM+6mL25/8Bt6"
    "nwuw=="
)
