"""Three sets of questions and claims over `prose` and over the real corpus, each with what a careful reader would answer.

`TUNED` was used while the engine was being improved. `HELD_OUT` was written before any result was seen; what it showed at its
first measurement was mended too, so it is no blind test any more. `FINAL` was written after that, mostly of near misses.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FINAL_CLAIMS",
    "FINAL_QUESTIONS",
    "HELD_OUT_CLAIMS",
    "HELD_OUT_QUESTIONS",
    "TUNED_CLAIMS",
    "TUNED_QUESTIONS",
    "Question",
]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what its analysis has to hold.

    Attributes:
        text: the question.
        says: texts that have to stand in the findings, comparisons or conflicts; empty when nothing may be found.
        missing: texts that have to stand in `not_found`.
        never: texts that must stand nowhere in what is found.
    """

    text: str
    says: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


TUNED_QUESTIONS = (
    Question("How much does the Halden H2 weigh?", ("2.1",), never=("3.4",)),
    Question("Compare the weight of the Halden H2 and the Halden H4.", ("2.1", "3.4", "1.3 kg")),
    Question("What does the Halden H4 cost?", ("139",), never=('"value": "89"',)),
    Question("How long does one cartridge last?", ("60",)),
    Question("How much lead does the Halden H2 remove?", ("99.4",)),
    Question("How long was the payment service unavailable?", ("47 minutes",)),
    Question("What caused the outage of the payment service?", ("expired certificate",)),
    Question("How many payments failed?", ("12400",)),
    Question("Who is responsible for the follow-up?", ("Jonas Beck",)),
    Question("Which hotel costs are reimbursed in Switzerland?", ("210",)),
    Question("Who has to approve business class?", ("director",)),
    Question("How much did the repair of the roof cost?", ("84000",)),
    Question("Why was the opening of the harbour museum postponed?", ("delivered late",)),
    Question("What was the mean reaction time with a nap?", ("284",)),
    Question("Did age have an effect on the result?", ("Age had no effect",)),
    Question("Compare the depth of Lake Torvenn and Lake Sandvatn.", ("212", "87", "125")),
    Question("How did the population of Torvik develop between 2010 and 2030?", ("4300", "860")),
    Question("How many inhabitants did Torvik have in 2030?", ("5160", "5020", "disagree")),
    Question("How deep is Lake Mjosen?", missing=("Mjosen",)),
    Question("What is the revenue of Halden?"),
    Question("Compare the licenses of the packages fastapi and redis.", ("MIT", "fastapi", "redis")),
    Question("Which Python does the package redis require?", (">=3",)),
    Question(
        "What is the difference between the break and continue statements?",
        ("nearest enclosing loop", "next cycle"),
    ),
    Question(
        "What is the difference between the assert statement and the perform statement?",
        ("assert",),
        ("perform",),
    ),
    Question(
        "Compare the license of the package fastapi and of the package nosuchthing.",
        ("MIT",),
        ("nosuchthing",),
    ),
    Question("What does the global statement do?", ("entire current code block",)),
)
TUNED_CLAIMS = {
    "The Halden H2 weighs 2.1 kg.": "supported",
    "The Halden H2 weighs 2100 g.": "supported",
    "The Halden H2 weighs 3.4 kg.": "contradicted",
    "The Halden H2 is made of steel.": "contradicted",
    "The Halden H2 needs no electricity.": "supported",
    "The Halden H2 needs electricity.": "contradicted",
    "The Halden H4 is heavier than the Halden H2.": "supported",
    "The Halden H2 costs more than the Halden H4.": "contradicted",
    "The outage was caused by a fire.": "contradicted",
    "An expired certificate caused the gateway to reject all connections.": "supported",
    "Customer data was lost.": "contradicted",
    "About 12,000 payments failed.": "supported",
    "Alcoholic drinks are reimbursed.": "contradicted",
    "Taxis are always reimbursed.": "contradicted",
    "Receipts must be submitted within 21 days.": "supported",
    "Receipts must be submitted within 14 days.": "contradicted",
    "The group approved the proposal to open the cafe on Mondays.": "contradicted",
    "Tomas Vrba is the chair of the steering group.": "contradicted",
    "Age had an effect on the result.": "contradicted",
    "The number of errors fell by 18 percent.": "supported",
    "The number of errors rose by 18 percent.": "contradicted",
    "Lake Torvenn is deeper than Lake Sandvatn.": "supported",
    "Lake Torvenn is a saltwater lake.": "contradicted",
    "Pike live in Lake Torvenn.": "contradicted",
    "The dam was built in 1968.": "contradicted",
    "Torvik was founded by Anders Moe.": "supported",
    "Torvik was founded by Oda Brekke.": "contradicted",
    "The nonlocal statement refers to variables of the nearest enclosing scope.": "supported",
    "The nonlocal statement refers to variables of the farthest enclosing scope.": "contradicted",
    "The package fastapi requires Python 2.": "contradicted",
    "The package fastapi requires Python 3.11 or newer.": "supported",
    "The license of the package fastapi is MIT.": "supported",
    "The license of the package fastapi is GPL.": "contradicted",
    "The package fastapi depends on starlette.": "supported",
    "The package fastapi depends on django.": "not_found",
    "The break statement terminates the nearest enclosing loop.": "supported",
    "The break statement terminates every enclosing loop.": "contradicted",
    "The pass statement is a null operation.": "supported",
    "The global statement holds for the entire current code block.": "supported",
    "Napping nurses wore blue uniforms.": "not_found",
}

HELD_OUT_QUESTIONS = (
    Question("How many litres does the tank of the Halden H2 hold?", ("3.5",)),
    Question("Which of the Halden H2 and the Halden H4 is more expensive?", ("139", "89", "50")),
    Question("What is the housing of the Halden H2 made of?", ("polypropylene",)),
    Question("When did the outage begin?", ("09:12",)),
    Question("Who noticed the alert?", ("Marta Lindqvist",)),
    Question("How often does the renewal job run?", ("every night",)),
    Question("What is the daily allowance?", ("28",)),
    Question("Since when has the travel policy been in force?", ("2030-02-01",)),
    Question("How high is the budget for the harbour museum?", ("1200000",)),
    Question("When does the next meeting take place?", ("2032-04-08",)),
    Question("How many night nurses were measured?", ("128",)),
    Question("Who funded the study?", ("Aasen Foundation",)),
    Question("Which lake is larger, Lake Torvenn or Lake Sandvatn?", ("74", "29", "45")),
    Question("What is the output of the power station at Lake Torvenn?", ("36",)),
    Question("When was Torvik founded, and by whom?", ("1841", "Anders Moe")),
    Question("How many people live in Bergen?", missing=("Bergen",)),
    Question("What is the warranty of the Halden H2 and of the Varde V1?", ("Halden",), ("Varde",)),
    Question("Who designed the harbour museum?"),
    Question("Compare the licenses of the packages starlette and uvicorn.", ("BSD", "starlette", "uvicorn")),
    Question(
        "What is the difference between the raise statement and the return statement?", ("raise", "return")
    ),
)
HELD_OUT_CLAIMS = {
    "The tank of the Halden H2 holds 3.5 litres.": "supported",
    "The tank of the Halden H2 holds 5 litres.": "contradicted",
    "The Halden H2 removes 97 percent of chlorine.": "supported",
    "Cartridges are compatible with filters of other manufacturers.": "contradicted",
    "The Halden H2 won a design prize.": "not_found",
    "The outage lasted two hours.": "contradicted",
    "The team rotated the certificate at 09:51.": "supported",
    "The renewal job runs every week.": "contradicted",
    "The monitoring warned of the expiry.": "contradicted",
    "Business class requires the written approval of a director.": "supported",
    "Breakfast is included in the daily allowance.": "supported",
    "The daily allowance is 35 euros.": "contradicted",
    "Private extensions of a business trip are forbidden.": "contradicted",
    "The group rejected the budget.": "contradicted",
    "The group rejected the proposal.": "supported",
    "The repair of the roof cost more than 90,000 euros.": "contradicted",
    "Longer naps improved reaction time further.": "contradicted",
    "The study was funded by the Aasen Foundation.": "supported",
    "The study was funded by the Nobel Foundation.": "contradicted",
    "Lake Sandvatn covers 29 square kilometres.": "supported",
    "Lake Sandvatn is larger than Lake Torvenn.": "contradicted",
    "The population of Torvik grew between 2010 and 2030.": "supported",
    "The population of Torvik fell between 2010 and 2030.": "contradicted",
    "Holmen is inhabited.": "contradicted",
    "The church of Torvik was painted red in 1902.": "supported",
    "The continue statement continues with the next cycle of the nearest enclosing loop.": "supported",
    "The pass statement terminates the nearest enclosing loop.": "contradicted",
    "The package starlette is licensed under the BSD license.": "supported",
    "The package redis requires Python 2.7.": "contradicted",
    "The installed version of the package fastapi is 0.1.0.": "contradicted",
}

FINAL_QUESTIONS = (
    Question("How much chlorine does the Halden H2 remove?", ("97",), never=('"value": "99.4"',)),
    Question("What is the height of the Halden H2?", ("31",)),
    Question("Which is cheaper, the Halden H2 or the Halden H4?", ("89", "139", "50")),
    Question("When did traffic recover?", ("09:59",)),
    Question("How many hospitals took part in the study?"),
    Question("How long were the longer naps?", ("60",)),
    Question("Within how many days must receipts be submitted?", ("21",)),
    Question("What did Lin Zhao propose?", ("cafe",)),
    Question("Who is the chief executive of Halden?"),
    Question("How old is the dam at Lake Torvenn?", ("1958",)),
    Question("What does the del statement do?", ("deletion",)),
    Question("Which Python do the packages fastapi and httpx require?", ("3.11", "httpx")),
    Question("What is the difference between the try statement and the with statement?", ("try", "with")),
    Question("What is the license of the package doesnotexist?"),
    Question("How did the number of errors develop?", ("18",)),
)
FINAL_CLAIMS = {
    "The Halden H4 weighs 2.1 kg.": "contradicted",
    "The Halden H2 removes 99.4 percent of chlorine.": "contradicted",
    "The cartridge of the Halden H2 lasts 450 litres.": "supported",
    "The Halden H2 is dishwasher-safe.": "not_found",
    "The Halden H2 comes with a warranty of three years.": "supported",
    "The payment service was unavailable for 50 minutes.": "contradicted",
    "The gateway caused an expired certificate to reject all connections.": "not_found",
    "Jonas Beck noticed the alert.": "not_found",
    "All certificates are renewed automatically 30 days before they expire.": "not_found",
    "The certificates are renewed 30 days after they expire.": "not_found",
    "Business class may be booked on flights longer than six hours.": "not_found",
    "Hotel costs are reimbursed up to 210 euros a night in Germany.": "contradicted",
    "The extra costs of private extensions are borne by the company.": "not_found",
    "The opening was postponed from May to September 2032.": "supported",
    "The opening was postponed to May 2032.": "not_found",
    "Oda Brekke asked the city for 150,000 euros.": "not_found",
    "Nurses who napped reacted slower than those who did not nap.": "not_found",
    "Short naps are recommended for day shifts.": "not_found",
    "The mean reaction time was 331 ms with a nap.": "contradicted",
    "Torvik had 4,300 inhabitants in 2030.": "contradicted",
    "Torvik had 4,300 inhabitants in 2010.": "supported",
    "Lake Sandvatn is 212 metres deep.": "contradicted",
    "Lake Sandvatn drains into the river Skardelva.": "not_found",
    "The lake freezes every summer.": "not_found",
    "The dam supplies a power station with an output of 36 MW.": "supported",
    "Trout live in both lakes.": "supported",
    "Torvik was founded in 1841 by the merchant Anders Moe.": "supported",
    "The wooden church of Torvik was painted blue in 1902.": "not_found",
    "The global statement may appear after the names are used.": "not_found",
    "The break statement may only occur in a class definition.": "not_found",
    "The assert statement is a convenient way to insert debugging assertions into a program.": "supported",
    "The package redis depends on fastapi.": "not_found",
    "The package fastapi requires Python 3.12.": "contradicted",
    "The package fastapi requires Python 3.": "supported",
    "The package doesnotexist requires Python 3.": "not_found",
}
