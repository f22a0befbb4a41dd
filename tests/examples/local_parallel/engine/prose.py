"""Documents of six kinds, each written as its kind is written, none of them by a template.

What they hold was made up. They were written, like the questions in `asked`, before the engine was tried on them.
"""

from __future__ import annotations

__all__ = ["DOCUMENTS"]

DOCUMENTS = {
    "Product sheet: Halden H2 water filter": """\
The Halden H2 is a countertop water filter for households of up to four people. It removes 99.4 percent of lead and 97
percent of chlorine. The tank holds 3.5 litres, and one cartridge lasts about 60 days or 450 litres, whichever comes first.

The filter weighs 2.1 kg and measures 31 cm in height. It needs no electricity. The housing is made of recycled
polypropylene. The H2 is dishwasher-safe, except for the cartridge holder.

The recommended price is 89 euros. The larger Halden H4 costs 139 euros, holds 6 litres and weighs 3.4 kg. Both models come with
a warranty of three years. Cartridges are not compatible with filters of other manufacturers.
""",
    "Incident report 2031-14": """\
On 3 May 2031 the payment service was unavailable for 47 minutes. The outage began at 09:12 UTC, when an expired certificate
caused the gateway to reject all connections. About 12,400 payments failed. No customer data was lost.

Marta Lindqvist, the engineer on call, noticed the alert at 09:20. The team rotated the certificate at 09:51 and traffic
recovered at 09:59. The monitoring did not warn of the expiry, because the check covered only public certificates.

As a consequence, all internal certificates are now renewed automatically 30 days before they expire. The renewal job runs
every night. Jonas Beck is responsible for the follow-up, which is due on 15 June 2031.
""",
    "Travel policy": """\
Employees book flights through the travel desk. Economy class is mandatory for flights shorter than six hours; on longer
flights, premium economy may be booked. Business class requires the written approval of a director.

Hotel costs are reimbursed up to 160 euros a night in Germany and up to 210 euros a night in Switzerland. Breakfast is included in the
daily allowance of 28 euros. Receipts must be submitted within 21 days after the trip. Taxis are reimbursed only when
no public transport is available.

Alcoholic drinks are never reimbursed. Private extensions of a business trip are allowed, but the extra costs are borne by
the employee. The policy has been in force since 1 February 2030.
""",
    "Minutes of the steering group, 11 March 2032": """\
Present: Oda Brekke (chair), Tomas Vrba, Lin Zhao. Apologies: Peter Achterberg.

The group approved the budget of 1.2 million euros for the harbour museum. Tomas Vrba reported that the roof had been
repaired and that the repair cost 84,000 euros, 9,000 euros less than planned. The opening was postponed from May to
September 2032 because the glass for the main hall was delivered late.

Lin Zhao proposed to open the cafe on Mondays. The group rejected the proposal. Oda Brekke will ask the city for a further
150,000 euros. The next meeting takes place on 8 April 2032.
""",
    "Abstract: Sleep and reaction time in night nurses": """\
We measured the reaction time of 128 night nurses in three hospitals over twelve weeks. Nurses who napped for 20 minutes
reacted faster than those who did not nap: the mean reaction time was 284 ms with a nap and 331 ms without. The number of errors
fell by 18 percent. Age had no effect on the result.

Longer naps of 60 minutes did not improve reaction time further. Participants reported less fatigue after both kinds of
nap. The study was funded by the Aasen Foundation. We recommend short naps for night shifts; we did not examine day shifts.
""",
    "Encyclopaedia: Lake Torvenn": """\
Lake Torvenn is a freshwater lake in northern Norway. It covers 74 square kilometres, is 212 metres deep, and lies 318 metres
above sea level. The lake drains into the river Skardelva. Its largest island, Holmen, is uninhabited.

The town of Torvik on the southern shore had 4,300 inhabitants in 2010 and 5,160 inhabitants in 2030. The lake freezes every
winter and is a popular place for ice fishing. Swimming is prohibited near the dam. The dam was built in 1958 and supplies a power
station with an output of 36 MW.

Lake Sandvatn, twelve kilometres to the west, is smaller: it covers 29 square kilometres and is 87 metres deep. Arctic char and
trout live in both lakes. Pike are not found in Lake Torvenn.
""",
    "Encyclopaedia: Torvik": """\
Torvik is a town in northern Norway. It was founded in 1841 by the merchant Anders Moe. According to the municipality, Torvik had
5,020 inhabitants in 2030. The town is known for its wooden church, which was painted red in 1902.
""",
}
