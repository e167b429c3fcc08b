"""A small made-up document set, and questions that it answers: nothing a model could have read elsewhere."""

from __future__ import annotations

_TEXT = """\
The Skerrow lighthouse was built in 1887 on the northern cliff. It stands 42 metres tall, and 198 steps lead to its
lantern room. Its lamp flashes 3 times every 20 seconds and is seen from 27 kilometres away.

The Skerrow ferry Marigold carries 240 passengers and 36 cars. The crossing from Ardle takes 75 minutes. In summer it
sails 6 times a day, in winter 2 times. A ticket for an adult costs 14 crowns.

The Skerrow library holds 18,500 books in 4 rooms. It was founded in 1921 by the teacher Edda Brann. Readers may
borrow 8 books at once and keep them for 21 days. It is closed on Mondays.

The brewery of Skerrow opened in 1903 and employs 19 people. It brews 5 kinds of beer, the best known of which is
called Grey Seal. Each batch ripens for 28 days in oak barrels that hold 225 litres.

The school of Skerrow teaches 112 pupils in 7 classes. Lessons begin at 8:30. Its garden has 16 apple trees, and the
pupils sell the juice at the autumn fair to pay for a trip to the mainland.

Skerrow's museum of fishing shows 64 boat models and a real herring boat, the Petrel, which is 13 metres long. Entry
costs 9 crowns, and 4 crowns for children. It drew 11,200 visitors last year.

The Skerrow bird reserve covers 310 hectares of marsh. Wardens counted 74 kinds of birds there, among them 29 pairs of
sea eagles. Dogs are not allowed, and visitors keep to a boardwalk of 6 kilometres.

The town hall of Skerrow was finished in 1956. Its council has 15 members and meets every second Thursday. The mayor,
Tomas Wike, was elected with 61 percent of the votes and serves for 5 years.

Skerrow's wind farm has 12 turbines, each 95 metres high. Together they make 33 megawatts, enough for 24,000 homes.
They were put up in 2014 and are run by the firm Northlight.

The bakery on Skerrow's market square sells 350 loaves a day. Its rye bread is baked for 55 minutes at 230 degrees.
The baker, Ilse Moor, starts work at 3 in the morning and has 2 apprentices.

Each August the Skerrow regatta brings 85 sailing boats to the bay. The course is 18 nautical miles long. The record,
set in 1998 by the yacht Kestrel, is 134 minutes. The winner receives a silver compass.

The Skerrow hospital has 48 beds and 11 doctors. Its helicopter reaches the mainland in 17 minutes. The maternity ward
welcomed 93 babies last year, and visiting hours end at 19:00."""

DOCUMENTS: tuple[str, ...] = tuple(" ".join(paragraph.split()) for paragraph in _TEXT.split("\n\n"))

FACTS: tuple[tuple[str, str], ...] = (
    ("How many metres tall is the Skerrow lighthouse?", "42"),
    ("How many steps lead to the lantern room of the Skerrow lighthouse?", "198"),
    ("In which year was the Skerrow lighthouse built?", "1887"),
    ("How many passengers does the ferry Marigold carry?", "240"),
    ("How many minutes does the ferry crossing from Ardle take?", "75"),
    ("How many crowns does an adult's ferry ticket cost?", "14"),
    ("How many books does the Skerrow library hold?", "18500"),
    ("For how many days may readers keep a book of the Skerrow library?", "21"),
    ("In which year was the Skerrow library founded?", "1921"),
    ("How many people does the Skerrow brewery employ?", "19"),
    ("How many days does a batch of beer ripen at the Skerrow brewery?", "28"),
    ("How many litres does an oak barrel of the Skerrow brewery hold?", "225"),
    ("How many pupils does the school of Skerrow teach?", "112"),
    ("How many apple trees are in the school garden of Skerrow?", "16"),
    ("How many visitors did Skerrow's museum of fishing draw last year?", "11200"),
    ("How many metres long is the herring boat Petrel?", "13"),
    ("How many hectares does the Skerrow bird reserve cover?", "310"),
    ("How many kinds of birds were counted in the Skerrow bird reserve?", "74"),
    ("How many members does the council of Skerrow have?", "15"),
    ("For how many years does the mayor of Skerrow serve?", "5"),
    ("How many turbines does Skerrow's wind farm have?", "12"),
    ("How many megawatts does Skerrow's wind farm make?", "33"),
    ("How many loaves does the bakery on Skerrow's market square sell a day?", "350"),
    ("At how many degrees is the rye bread of the Skerrow bakery baked?", "230"),
    ("How many sailing boats come to the Skerrow regatta?", "85"),
    ("How many nautical miles long is the course of the Skerrow regatta?", "18"),
    ("How many beds does the Skerrow hospital have?", "48"),
    ("In how many minutes does the helicopter of the Skerrow hospital reach the mainland?", "17"),
)
