from tortoise import BaseDBAsyncClient

RUN_IN_TRANSACTION = True


async def upgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "predictions" ADD "reviewed_at" TIMESTAMPTZ;
        ALTER TABLE "predictions" ADD "reviewed_by" VARCHAR(64);
        ALTER TABLE "predictions" ADD "verdict" VARCHAR(16);
        ALTER TABLE "predictions" ADD "review_sampled" BOOL;
        COMMENT ON COLUMN predictions."reviewed_by" IS 'Name of the API key, or who else it was.';
COMMENT ON COLUMN predictions."review_sampled" IS 'Reviewed as part of the random sample, not because the model was uncertain.';
COMMENT ON COLUMN predictions."verdict" IS 'confirmed: the person''s label is the model''s; or corrected';
        UPDATE "predictions" SET
    "reviewed_at" = "corrected_at",
    "reviewed_by" = (
        SELECT "who" FROM "changes" WHERE "subject_id" = "predictions"."id" AND "action" = 'prediction.corrected'
        ORDER BY "id" DESC LIMIT 1
    ),
    "verdict" = CASE WHEN "top_prediction" = "all_predictions"->0->>'label' THEN 'confirmed' ELSE 'corrected' END
    WHERE "corrected_at" IS NOT NULL;
        -- Predictions to review: the least certain first, and a tenth in random order.
        CREATE INDEX "idx_predictions_uncertain" ON "predictions" ("confidence", "id")
    WHERE "status" = 'succeeded' AND "reviewed_at" IS NULL AND hashint8("id") % 10 <> 0;
        CREATE INDEX "idx_predictions_sample" ON "predictions" (hashint8("id"), "id")
    WHERE "status" = 'succeeded' AND "reviewed_at" IS NULL AND hashint8("id") % 10 = 0;
        CREATE INDEX "idx_predictions_reviewed" ON "predictions" ("model", "model_version", "reviewed_at")
    WHERE "reviewed_at" IS NOT NULL;"""


async def downgrade(db: BaseDBAsyncClient) -> str:
    return """
        ALTER TABLE "predictions" DROP COLUMN "reviewed_by";
        ALTER TABLE "predictions" DROP COLUMN "reviewed_at";
        ALTER TABLE "predictions" DROP COLUMN "review_sampled";
        ALTER TABLE "predictions" DROP COLUMN "verdict";"""


MODELS_STATE = (
    "eJztHWtz2zbyr2D0pemMmnGcxPElnZuRE/fiq2NnbOXaXu9GhUjIQk0RLEBa0d31vx9efD"
    "9E0rIMyfiSWAAWJHeBxb7x38GCuMhjz0cB/hGtBm/Bfwc+XCD+R6FnCAYwCNJ20RDCqSeH"
    "wgBPbtFKNsIpCyl0Qt4+gx5DvMlFzKE4CDHxxeif5gQs4ApEDIFwjgBD9A476B0gM/mbzw"
    "RwyJA3A8T3VgCCOWRzgBnvCcLn4iEucfhTsH+zofkiH/8RoUlIbhCHoHzWX//Nm7Hvoq+I"
    "xT+D28kMI8/NoQm7YgLZPglXgWw7wTdnfviDHCvedjpxiBct/HR8sArnxE8AsB+K1hvkIw"
    "pDJJ4Q0kjgzo88T6M5Rqd62XSIessMjItmMPIEBQS0eoG0bTCZXFyOJ9en48lkUKJODJFB"
    "sG5yiC8oy1+VSQTciFf47i+Hhy9fvjk8eHl0/PrVmzevjw+O+Vj5vuWuN3+ql0mxpaaSOD"
    "v729nFWLwQ4ctHrSvR8KeEgSFUUJIYKfbl/yX8v59DWo39eHwB//zDiviPsd1EgLghpUC6"
    "5PuTgC9oGIIAkcBDwIGex1dvadXXEGUBv0485N+Ec/7z6FUDvv8xunr/cXT17OjVt3mkX+"
    "ieQ9kl0J+iO4imHnYmVWu+Huc5oM0g/iFW/mDMeUUAaZjlG6EgBecUPuFsxaGoHyFeHLUg"
    "xIujWkKIrjwhBAfrQoN4vNHr/nIm+LRG9BBcfxx9d/j6CGAfzNFX6CIHL6BnyE5gDhFzdC"
    "BBCmE0ESiC7hAsKQ75VNBdYP8dpwjfF+LVwHQFHLJYQGYIGfhKEe81gWGZFB94T4gXqJoc"
    "ecgCSVwN+jz+wxwCtT6gG1A9Pvt0ej0effospl8w9ocn8TUan4qeQ9m6KrQ+K7KnZBLw09"
    "n4IxA/wT8vL04lOgkLb6h8Yjpu/M+BeCcYhWTik+UEulmcxM1xU47M6GuA+XQ9yJyH3ACZ"
    "9Uljqbx5KlN0R257beY8pKWyyVTmalofEmfAdoa+g3P+Bt5qCEIiJUp+mEYhanl07jrNhc"
    "Y8u81obaJhCp3bJaTuJNeTEasQYxx3FYLViYb84ccr5EGJ4PJS0DaLazXL7h7aaateqxKb"
    "5JDUobPctThcFFugD2/kJ4lniydpdHGZ1ZfafMn4o3uGTcYfR45pafsZATVcKVaMLNCUuC"
    "uw4NL9Wy78x0YZLnn6LvDRHaIawNUmnLL5ZzNTrrcA/Tpg0fR35IRak+XfKT7q39YyZKRl"
    "SNO4j2aQg7SagXEnS1aauEWrSnNU00ZLYdZvtseTHS6VFWr0+Sy1RC0hE2Zut632vcWdmJ"
    "JkOSdd7CJ6uNFGkbEyB37DgPjIISAU8NcG/ChE4ohZGmMP0YdSB/SnEEZTIKDIxfJVnzuE"
    "Un4MI3coaPJc635D8K/o8ODwqA8dXh62oMPLw1o6iK6CeTAnKrRnTXm4XuxpWxQ5c2NDeU"
    "obuTNS87nRbGqKZoRWOI/+fn15UU2cFKIoFPCvB/8DHmbmnB+bkAYEKnKCQLzkn30a/Vzc"
    "De/PL0+KJ7yY4KTIomYhol3QngBYrN8D667Lezs5LDIgvY6GLclJFyhcEnoL9OvG7MfxMP"
    "If02/awf7xoMp9xEKy+CR+DKo0/Ez3sFHNlwMnaU8bZV+OVqKrhyD1GYBCfqVckCJLH/CV"
    "wicDM0oWAH2Fi8BDZUHqHtPYsI4dVd4fN6zjcQnwwBrCFLJOqI3HG60dSP4lVDKuj6HFFL"
    "kuRzETqpnmF4I3GKKiKW7VRQBKIe4lAW1NMfDlAUyoi6gI3ljOsTMXTSuwRBSJg7q1BWPb"
    "YhJF8uGTGiG1lv2X4IxW3S7QMjkogXxlTSS+YeR3MBHooazj78DBW2U276bNHb549ebV8c"
    "ujV8nBkbQ0nRdlPU1OzR/YWZcuAJps6xvrV9UsjCNb+K+E60IEsxpu77MxOH3Yl7W0G7P7"
    "ciZ2vSY7xNxaI/uGTiX+aUp752Tg9DDMzN4rniE+ZSu2TYd4hlM1izm0un88Q9UJf08sxY"
    "foPqHpIS1DH5CHuaRRmfWT9A2bbEKuGoXbR38s0XROyO1bvq+lKpDxHXzDAPJdIfOExHNV"
    "uMacLPlcVLGEOWQi+LgcP7XJeVvFgYQwjOQn++hryKWXEC0C8b8NBjHUnhRRr4z+MSdeTa"
    "yhGm7yabkREfT053GzBp1IoOeXF3+LhxfV6oLnM9kcZdnk1I8WEuNn/BWh76Cy/zOBNhn5"
    "gyXEoVDXns0ILbhAvx2CgPMb3jsEmj9yaZIPm0HsIbeP/LL59CHNsirIVMuQsiDbM24cPC"
    "xb2piRongQlPDarAhXgO9MkPOTVIb5VAH/OjSpY3cNlsISpMm6sY5C8yALgV6gj2QHRJSS"
    "CpNs/SmeAJjsve6P320f7NbM9yQ4WyKz9CB0EdaeYSZTOpVZO9t1S6APJRHup6paMiVWEa"
    "VMkR8IRfjG/xGtSkpUtUXsc26y3aJGnUmMN1O4TCws5aXI/+Afj0KldY6u348+nA7+fJzg"
    "q9M4FmFQYWNLO4dNRrY0nqGdkU1WD4FAxG3owCmHLIJI+DTIjHfgBX9XoGJZVb0Fh/9VEX"
    "d1n4kqzGi/Fta2nFJZzGxAlglcadhgQFvEAYJtHU4JgMl2HGOCsiS2Jtrt3xnNWUCL7hbo"
    "vkNOWKVLnmAf0lU1plOYAoqnq1D5P8xA8uAj9GbCHulgJjMyPByGHhI+EAz9++uWJzqSKp"
    "FwOZ5Pzi5GV79UK5cnFZFXJ7+MT0fF0lI7II1udxNYcdQkcuyHPKoDCaqk0TTGoEEWzYQz"
    "tHH3KhExVIKkyiDQomQmLlfGeWAGnDlybrlwucThvMrHe7/JKiXSREphc3j4+qgkjWZGyC"
    "Bc8QenKh+V6ZHxrNb7a67wqonbQaxKIUyWp2LjsdwYhtfLS7ZPW+t9AmAyBYz1wkd1SR7r"
    "XfDRDuR7SIYvOL1k831W+HGLBX5cu76PSw71+AwoIb3ZYp6Fs44Ro83lTyT+Wa5IG/1so5"
    "/XWau67oUslFXQey/9XbCT7KeK0WAmqTGPd7aQFLLxd2xDtDWRZDlBtXWkesEbaIKyHtGO"
    "FqgzFy0CEiLfWdVcOFIYMWyyR+F0bIcLSEY+iAKPQDcxJslaIfISESZyBeANFHnLmK+gSO"
    "QH3IlYX34Eu8RHuvPZb79lXvQ7/qa//fZthdXqQR/VJlnB8SDXHdbYp24VotvKU3r43lVb"
    "OHz9uoWsxEfVCkuyr9kaNePvg2hA9WnbFucFMKNl2csZl1zjcoVy+Yv6bEbbpx5drDIs0O"
    "1xhFvos2VV3YV6M2EKYXKUr6gfOcNUxPjK9x0CyLROJ44BY0N+07OjRJI1Ib85SGvZMtqy"
    "RZZ+1aZr4nkJiMG8bjBy7zAjdAU84tymxSqJkykTp44n44xdHZLNH1RaFwqVpxOvq2T1bH"
    "+zpF4cuVZKFzxTCFEy/lDVonkLhFRMybIsaK8dveFacF++nH3o4LuNIuw+FzAPIyEPvp9F"
    "vhRBgHyS+OfVXwcd94sM+JSBnCFfjzfSHCl9i0x41BeQ1nrnO/NIVVFXMb0sO5MoWuPNXa"
    "JeOXZZuJ1JTOA0QX5MhFhLhGJRq1paMm/II6IAMpiRtiWadv3wMoQ7fubIHyn5s4I3Znob"
    "OWPAx02UWNgtwlvFvjCIVTy2nw/Ihj4RfE6KmJDx9fG2kKj8jah6IDYHS9wOcg+UWOvDP8"
    "7W6TRaP2vgxU8h2Z9FjoOQa14Wf0iCSZN1vF5rLkMarD0bG2TDHz/DLtJLu+CZ4GpFDfLz"
    "YAXEzwTcXqH+w+WXk/NT8Pnq9P3Z9Zmu2ZmIELJTNPEGrDwUV6ej86JdyPMy67VT8dQKUF"
    "tHvn+BVJsIZBOB9gfdskQEx6LbqSR2HmofTs7t4HmBGIM3FaheU8MjC7gP2N62nLIz1Z4e"
    "Xl/aWDUarrvQftVQ8pA7Y4l6kp4RkfAuAmd6ucAKsJbSZlNaXyrXi9J5WEtpkylNUeBBp+"
    "c18zlQ69Y2mtCPHtJjWPyoEZHSNpp3n6J5MwSo8oDlyNPgAcub59Y7wC59lMQVajeUqOq9"
    "rHJUVWQy9YHvVhe8lCMeN5QN73FPxiosf6epYwz/B01UlRHZkyYn540+Nv3cTCfZDHuo64"
    "V2WZg9tORtMNA6s8rFRp4EkD+hA6bzUDakvQ2m+RND5IcKTR1wXYTbw5W9edtphv13YuJ5"
    "uH0y4m072Ri7VSylFvHJ+H3C+cYMp3Mu4s8rNO9adKYAFp9Vhug9LW5jDv/duRingb6AZN"
    "AN44Pk3hIdIy//ttFPe2CjtdFPNvrJRj/Z6CfDj1ob/WSjn/YWzzb6yUY/7cVddx6CDE3Q"
    "1wDzk7KHF70K3oZMmOxJt1d/1W8u/oHupe+tBsnF1rtAdr1ZGqluQxyfxN62IY5PhtI2xP"
    "GJUBo6c1QV80EIF778GhInQMULbjjUNk/mmqAflUuPXDBdiexzBKmHERU1PoZxMRcmauhK"
    "l6eM55FWgQ3ceHN5eZ6j/MlZUe348unk9OrZi2/zpryy6Ly/NaT1VQS5UtJpiJXZ1aT507"
    "mmHQU11tXrBfS8+lipIvDjeikPKjaO1mYVUZDv6iougmCYxs6ed+In31kUAZ+EwCER/7CO"
    "hZFeHr45SiglfjTR5vrT6Py8TAyK7jBa9gzPzoHaM8rkMyoh1rRT6dECmMEGsUxF94QvGl"
    "zU/Q5R4QqqpsV6P3cG3GSaSO8jXSTlaRBlsjSNvG1GVLkSrVJu+IZzRHHBSCz49qHS5p3e"
    "avlPmLyGq6uEVwbuJ+ltiVZXequLWpkBpGG8lyiX7cgCqM8YytNqihwYMZRST5We5QuVhp"
    "w2jy4DdihYVbqJHVcG/mnYH368QmlRveosiQ9qntUOWtfqkiTy7pXcBcn98ZS7j3kvEZW5"
    "ve8eaEovCtxHJBXLsfVHVL4A3L7g6iHTia44fs7xAoeDimyitHPYlEwkcDzxxLiWyUQfyR"
    "IsImcOYCKhQV9cg8SFXTYEc3GQMHXn+VIVyJTV+8Vxg/k43oi9iqp5m5u2TerRjCLUXOKf"
    "RdPfUZ18V2PGT0HMzYtQxebFxZ/C5KOx2UumPj5oIa0dH9RfCnewtvS/plKJBs16bQZsdz"
    "xoqnIp9DyVRAccvvqnSK15ea+FrVW6zUzNaxHPW52mGXc1slWmBrW++XdKyZIhqmxODN/4"
    "wgyoLjpRHLHqht92QG34YSa6oJ4lch7cKVUsHm82MxQ6kEPILUZGXrlRzx1tlMHeMsG8Ft"
    "I3cGjjIUOWzHt1XWoLcu5n9nlDvY3Km706F9oYBVjfxbZbJGhbZCNdeCZV1xjDaeRB2lxk"
    "ozyoUY4L1fBiUkjrovMavlAkQ1+0If6c8aM44nzkHVhSHIZCB5iFXKbTtx1B7cWvLTO/0Q"
    "e0ERVzNTpsCQ0jS2jYvBubd7M/6I45WBnT9Yl8WZh7ZfCZhuxtp/BJT28Z8/VJOAnAXqzt"
    "bWffBJRM4RR7OKz0Y9Yv+BKgXfX3WPW7HRG67p6/ODJ0RslC2b/Emz+619+m0NybJe2C1c"
    "MQC/9YYFThuawkxn3DRt1Qj2pt5I8B5IVgwIlYyPefnPgd19gclBYPGfJ+LSbWFWW8/3Td"
    "azRadc9IdW/3Su70OLV2q9oOx/q06pLg2h2RAuxA2oLmJUMlQbzoFvW+scRqivi3sn5SQh"
    "HWygnGyQk2t/apUdnm1j4VSj/pmhj6kuqQxaIM8AgTl4a3jcPbp5Vgy81sWCra35zZXLJs"
    "IsCZni27nJMuLiI93GhVLM3U44QwO01PeiM6GdJTCFv5sb8BvT53ppYJZUFMZkMXUlMX6z"
    "9+40fSf+PHT7rXtK4ANTkN9XImI+Pjt5apCyobX+1WIyN3U0JNhbDaI1ygCGcwiYwJFlgg"
    "/nynE8fPgFiW35/l1yYBNpRbTkF2APMq5M6hhLHv7qCHXZnQmETQgRmXghB05jGfur829y"
    "B0miNYqR74kK5qEjk0RNGtHV+WYgh15MUX7K3IG3zuB/8Bs6pEw+5ObY3WhAacBCdnF6Or"
    "X6rjPE4qyHDyy/h0VEGGHid3AcweCeuPBCEMVB+99VFMWRiDccxZ0kooXJgBhuid8PQKVQ"
    "wK45JgR1CX7NiAYekhop1sRW1bUdsowehBVrmK+u1qk8tC2fSeDaX31ATGd07weS+DbT7F"
    "s+0WJdpm+WRXoEl5Pj8ReovoZ+U7GVSEb+UHDJtiuJZyaOsIrthhIy2fIbxFDPxOpiyNpO"
    "T0FYiEwpsDPMhCLo36RFRWEoZqhrxZVSTXpqZdH9HVKYLry5ezDx3it6IIu88FTJ8tsT6M"
    "a/D9jH+wVLnkk8Q/r/462P4hIc+Dl8pplpXy5ac3R2p1vdd2F+60HXwkcj26yTLGXAwV0m"
    "eASHs1eAv3sKb7v7VpKIHYhXB6ZaBIi4dAdqvMEoZaIgyK6rHBWw8YvIWQ34fGKZglsHEE"
    "NiSKf4QoduZVQqDuaZT+YDpmnfBXT9gNC11PJWb+nm7Qehmrh6NtvzNyH0SWEpuqA4b18D"
    "3E7ouDNnXw+Kj67IGDgyJ2+RND5FccmfWiagZkF2RVo9yYj3qY/fl/wRd7xA=="
)
