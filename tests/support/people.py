"""The people of the sample roster, their insurer, and the settings that tests run under."""

from __future__ import annotations

import json

import pytest

KEY = "9d3c1f0a7b5e4826c1d0f9e8b7a6954321fedcba0123456789abcdef01234567"
INSURERS = {
    "06139463": {
        "name": "見本健康保険組合",
        "address": "東京都千代田区架空町1-2-3",
        "phone": "03-0000-1234",
        "hours": "平日9時から17時",
    }
}

BORN = {
    "佐倉 直人": "19790612",
    "佐倉 美咲": "1982-09-08",
    "戸田 さくら": "H2.1.5",
    "戸田 海斗": "平成元年10月31日",
    "森川 剛": "19611111",
    "野々村 葵": "1995/5/15",
    "濵﨑 ●子": "S43.4.29",
    "李 明": "昭和61年7月17日",
}
PASSWORD = "correct horse battery 9"
NAO = "佐倉 直人"


def settings_for(patch: pytest.MonkeyPatch, url: str) -> None:
    patch.setenv("KAKUNIN_SECRET_KEY", KEY)
    patch.setenv("KAKUNIN_DATABASE_URL", url)
    patch.setenv("KAKUNIN_MAIL_URL", "smtp://127.0.0.1:1")
    patch.setenv("KAKUNIN_MAIL_FROM", "noreply@kakunin.example")
    patch.setenv("KAKUNIN_BASE_URL", "http://localhost")
    patch.setenv("KAKUNIN_INSURERS", json.dumps(INSURERS))
    patch.setenv("KAKUNIN_INSECURE_COOKIES", "1")
