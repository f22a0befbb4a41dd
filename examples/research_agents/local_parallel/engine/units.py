"""Units of measure: which ones are one family, and what each is in the base unit of its family."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["CURRENCY_CODES", "CURRENCY_MARKS", "SCALES", "UNIT_PATTERN", "WORD_NUMBERS", "lookup"]

SCALES = {
    "hundred": Decimal(100),
    "k": Decimal(1000),
    "thousand": Decimal(1000),
    "m": Decimal(10**6),
    "mn": Decimal(10**6),
    "mio": Decimal(10**6),
    "million": Decimal(10**6),
    "b": Decimal(10**9),
    "bn": Decimal(10**9),
    "billion": Decimal(10**9),
    "tn": Decimal(10**12),
    "trillion": Decimal(10**12),
}
_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORD_NUMBERS = {
    **{word: Decimal(value) for value, word in enumerate(_SMALL)},
    **{word: Decimal(10 * (place + 2)) for place, word in enumerate(_TENS)},
    "dozen": Decimal(12),
    "hundred": Decimal(100),
    "thousand": Decimal(1000),
    "million": Decimal(10**6),
    "billion": Decimal(10**9),
}
CURRENCY_MARKS = {
    "$": "USD",
    "US$": "USD",
    "A$": "AUD",
    "C$": "CAD",
    "NZ$": "NZD",
    "€": "EUR",
    "£": "GBP",
    "¥": "JPY",
}
CURRENCY_CODES = frozenset(["USD", "EUR", "GBP", "CHF", "JPY", "SEK", "NOK", "DKK", "AUD", "CAD"])

# family: how it is printed, its spellings, and the factor to the base unit.
_UNITS: tuple[tuple[str, str, str, str], ...] = (
    ("power", "W", "W watt watts", "1"),
    ("power", "kW", "kW kilowatt kilowatts", "1e3"),
    ("power", "MW", "MW MWe MWth megawatt megawatts", "1e6"),
    ("power", "GW", "GW gigawatt gigawatts", "1e9"),
    ("power", "TW", "TW terawatt terawatts", "1e12"),
    ("energy", "kWh", "kWh kilowatt-hours kilowatt-hour", "3.6e6"),
    ("energy", "MWh", "MWh megawatt-hours megawatt-hour", "3.6e9"),
    ("energy", "GWh", "GWh gigawatt-hours gigawatt-hour", "3.6e12"),
    ("energy", "TWh", "TWh terawatt-hours terawatt-hour", "3.6e15"),
    ("energy", "J", "J joule joules", "1"),
    ("energy", "kJ", "kJ kilojoule kilojoules", "1e3"),
    ("energy", "MJ", "MJ megajoule megajoules", "1e6"),
    ("length", "nm", "nm nanometre nanometres nanometer nanometers", "1e-9"),
    ("length", "mm", "mm millimetre millimetres millimeter millimeters", "1e-3"),
    ("length", "cm", "cm centimetre centimetres centimeter centimeters", "1e-2"),
    ("length", "m", "m metre metres meter meters", "1"),
    ("length", "km", "km kilometre kilometres kilometer kilometers", "1e3"),
    ("length", "miles", "mile miles mi", "1609.344"),
    ("length", "ft", "ft foot feet", "0.3048"),
    ("length", "in", "inch inches", "0.0254"),
    ("area", "m²", "m² m2 sqm", "1"),
    ("area", "km²", "km² km2", "1e6"),
    ("area", "ha", "ha hectare hectares", "1e4"),
    ("area", "acres", "acre acres", "4046.8564224"),
    ("volume", "l", "l litre litres liter liters", "1e-3"),
    ("volume", "m³", "m³ m3", "1"),
    ("volume", "hl", "hl hectolitre hectolitres", "0.1"),
    ("volume", "barrels", "barrel barrels", "0.158987294928"),
    ("mass", "mg", "mg milligram milligrams", "1e-6"),
    ("mass", "g", "g gram grams", "1e-3"),
    ("mass", "kg", "kg kilo kilos kilogram kilograms", "1"),
    ("mass", "t", "t ton tons tonne tonnes", "1e3"),
    ("mass", "lb", "lb lbs", "0.45359237"),
    ("time", "s", "sec second seconds", "1"),
    ("time", "ms", "ms millisecond milliseconds", "1e-3"),
    ("time", "minutes", "min minute minutes", "60"),
    ("time", "hours", "h hr hour hours", "3600"),
    ("time", "days", "day days", "86400"),
    ("time", "weeks", "week weeks", "604800"),
    ("time", "months", "month months", "2629746"),
    ("time", "years", "year years", "31556952"),
    ("speed", "km/h", "km/h kmh kph", "0.2777777777777777777777777778"),
    ("speed", "m/s", "m/s", "1"),
    ("speed", "mph", "mph", "0.44704"),
    ("speed", "knots", "knot knots kn", "0.5144444444444444444444444444"),
    ("temperature", "°C", "°C", "1"),
    ("temperature", "°F", "°F", "1"),
    ("temperature", "K", "kelvin", "1"),
    ("share", "%", "% percent", "1"),
    ("points", "percentage points", "pp", "1"),
    ("data", "bytes", "byte bytes", "1"),
    ("data", "kB", "kB kilobyte kilobytes", "1e3"),
    ("data", "MB", "MB megabyte megabytes", "1e6"),
    ("data", "GB", "GB gigabyte gigabytes", "1e9"),
    ("data", "TB", "TB terabyte terabytes", "1e12"),
    ("pressure", "bar", "bar bars", "1e5"),
    ("pressure", "kPa", "kPa", "1e3"),
    ("pressure", "MPa", "MPa", "1e6"),
    ("voltage", "V", "V volt volts", "1"),
    ("voltage", "kV", "kV kilovolt kilovolts", "1e3"),
    ("frequency", "Hz", "Hz hertz", "1"),
    ("frequency", "kHz", "kHz", "1e3"),
    ("frequency", "MHz", "MHz", "1e6"),
    ("frequency", "GHz", "GHz", "1e9"),
    ("money", "USD", "USD dollar dollars", "1"),
    ("money", "EUR", "EUR euro euros", "1"),
    ("money", "GBP", "GBP pound pounds", "1"),
    ("money", "CHF", "CHF franc francs", "1"),
    ("money", "JPY", "JPY yen", "1"),
    ("money", "SEK", "SEK kronor", "1"),
    ("money", "NOK", "NOK kroner", "1"),
    ("money", "DKK", "DKK", "1"),
    ("money", "crowns", "crown crowns", "1"),
    ("loudness", "dB", "dB decibel decibels", "1"),
)
_SPOKEN: tuple[tuple[str, str, str, str], ...] = (
    (r"per\scent", "share", "%", "1"),
    (r"percentage\spoints?", "points", "percentage points", "1"),
    (r"square\smet(?:re|er)s?", "area", "m²", "1"),
    (r"square\skilomet(?:re|er)s?", "area", "km²", "1e6"),
    (r"square\smiles?", "area", "square miles", "2589988.110336"),
    (r"cubic\smet(?:re|er)s?", "volume", "m³", "1"),
    (r"metric\stons?", "mass", "t", "1e3"),
    (r"kilomet(?:re|er)s\s(?:per|an)\shour", "speed", "km/h", "0.2777777777777777777777777778"),
    (r"miles\s(?:per|an)\shour", "speed", "mph", "0.44704"),
    (r"met(?:re|er)s\sper\ssecond", "speed", "m/s", "1"),
    (r"degrees\scelsius|degrees\sc", "temperature", "°C", "1"),
    (r"degrees\sfahrenheit|degrees\sf", "temperature", "°F", "1"),
    (r"(?:us|american)\sdollars?", "money", "USD", "1"),
    (r"pounds\ssterling", "money", "GBP", "1"),
    (r"swiss\sfrancs?", "money", "CHF", "1"),
)
# Letters that differ only by case are different units (mW, MW): short ones are looked up as written, words in any case.
_EXACT: dict[str, tuple[str, str, Decimal]] = {}
for _family, _shown, _spellings, _factor in _UNITS:
    for _spelling in _spellings.split():
        _EXACT[_spelling] = (_shown, _family, Decimal(_factor))
_PHRASES = [
    (re.compile(pattern, re.IGNORECASE), (shown, family, Decimal(factor)))
    for pattern, family, shown, factor in _SPOKEN
]
UNIT_PATTERN = (
    "(?:" + "|".join(pattern for pattern, *_ in _SPOKEN) + "|"
    + "|".join(re.escape(one) for one in sorted(_EXACT, key=len, reverse=True))
    + r")(?![\w²³])"
)  # fmt: skip


def lookup(text: str) -> tuple[str, str, Decimal] | None:
    """(how it is printed, family, factor to the base unit) of a unit as written; None for none of ours."""
    exact = _EXACT.get(text) or _EXACT.get(text.lower() if len(text) > 3 else text)
    if exact is not None:
        return exact
    return next((unit for pattern, unit in _PHRASES if pattern.fullmatch(text)), None)
