"""Currencies of ISO 4217, with the decimals that their amounts are rounded to."""

import difflib
from typing import Final

from taskforce.core.domain.errors import Invalid

_BY_DECIMALS: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
        "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
        "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
        "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER "
        "ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
CURRENCIES: Final = {code: decimals for decimals, codes in _BY_DECIMALS.items() for code in codes.split()}
"""Decimals by code: the active codes of the standard, without those of metals, of tests and of no currency."""


def parse_currency(text: str) -> str:
    """Validates a currency that a caller sent.

    Args:
        text: Three capital letters, for example `USD`.

    Returns:
        The code.

    Raises:
        Invalid: `currency_unknown`; the message names the nearest known one.
    """
    if text in CURRENCIES:
        return text
    close = difflib.get_close_matches(text[:10].strip().upper(), CURRENCIES, n=1, cutoff=0.65)
    hint = f"did you mean {close[0]}?" if close else "send a code of ISO 4217, for example USD."
    raise Invalid("currency_unknown", f"{text[:20]!r} is no currency; {hint}")
