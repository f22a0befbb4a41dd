"""Writing answers from excerpts."""

from __future__ import annotations

from examples.research_agents.compose import answer_pieces


def found(query: str, *results: tuple[int, str, str]) -> dict[str, object]:
    return {
        "query": query,
        "results": [
            {"n": n, "url": f"u:{n}", "title": title, "excerpts": [text]} for n, title, text in results
        ],
    }


def test_every_sentence_is_cited() -> None:
    """An answer consists of sentences of the excerpts, each with its number."""
    text = "Tea is steeped. It takes two minutes."
    answer = "".join(answer_pieces([found("How is tea steeped?", (3, "Tea", text))]))
    assert answer == "Tea is steeped. [3] It takes two minutes. [3]"


def test_a_sentence_without_its_subject_gets_it_from_the_title() -> None:
    """What says nothing alone ("Return a copy") is named."""
    answer = "".join(
        answer_pieces([found("What is str.upper?", (1, "Strings - str.upper()", "Return a copy."))])
    )
    assert answer == "str.upper(): Return a copy. [1]"


def test_what_was_not_found_is_said() -> None:
    """For each part of the question by itself, and nothing is cited for it."""
    pieces = "".join(
        answer_pieces([found("What is tea?", (1, "Tea", "Tea is a drink.")), found("Who is Bob?")])
    )
    assert (
        pieces == 'Tea is a drink. [1]\n\nNot found in the corpus: no passage covers enough of "Who is Bob?".'
    )


def test_what_was_not_looked_up_is_said() -> None:
    """A bound on the cost makes an answer shorter, never silently."""
    answer = "".join(answer_pieces([{"query": "Who is Bob?", "refused": "too dear"}]))
    assert "Not looked up" in answer
    assert "Not found" not in answer


def test_another_source_is_heard_only_when_the_best_says_little() -> None:
    """A quick answer quotes one source, unless another holds what the first leaves out."""
    question = "green tea temperature"
    one = "".join(
        answer_pieces(
            [
                found(
                    question,
                    (1, "A", "Green tea temperature is 80."),
                    (2, "B", "Green tea temperature matters a lot here."),
                )
            ]
        )
    )
    assert "[2]" not in one


def test_the_same_sentence_is_said_once() -> None:
    """Two parts of a question that lead to the same sentence do not repeat it."""
    answer = "".join(
        answer_pieces(
            [
                found("What is tea?", (1, "Tea", "Tea is a drink.")),
                found("Is tea a drink?", (1, "Tea", "Tea is a drink.")),
            ]
        )
    )
    assert answer.count("Tea is a drink.") == 1


def test_who_asks_for_one_thing_is_told_one_thing() -> None:
    """A sentence that holds all of the question is the answer; what stands around it is not asked for."""
    text = "The version of the package tea is 3. The license of the package tea is MIT. It depends on water."
    answer = "".join(answer_pieces([found("What is the license of the package tea?", (1, "Tea", text))]))
    assert answer == "The license of the package tea is MIT. [1]"


def test_a_sentence_that_points_back_is_not_quoted_alone() -> None:
    """It brings the one before along, or stays away when that is not there."""
    text = "Tea is a leaf. It grows on hills."
    answer = "".join(answer_pieces([found("Where are hills?", (1, "Leaves", text))]))
    assert answer == "Tea is a leaf. [1] It grows on hills. [1]"
    lost = "".join(answer_pieces([found("Where are hills?", (1, "Leaves", "It grows on hills."))]))
    assert lost.startswith("Not found")


def test_an_announcement_is_no_answer() -> None:
    """A sentence like "There are two ways:" promises what is not quoted."""
    answer = "".join(answer_pieces([found("ways of tea", (1, "Tea", "There are two ways of tea:"))]))
    assert answer.startswith("Not found")


def test_the_missing_side_of_a_comparison_is_named() -> None:
    """Half an answer says which half it is."""
    answer = "".join(
        answer_pieces([found("What is tea?", (1, "Tea", "Tea is a leaf.")), found("What is a deque?")])
    )
    assert "Tea is a leaf. [1]" in answer
    assert '"What is a deque?"' in answer


def test_a_source_with_another_number_is_heard() -> None:
    """Whoever reads one of two that disagree would take it for settled; the same number twice is said once."""
    question = "What is the daily allowance in Germany?"
    first = (1, "Policy A", "The daily allowance is 64 euros in Germany.")
    answer = "".join(
        answer_pieces(
            [found(question, first, (2, "Policy B", "The daily allowance is 58 euros in Germany."))]
        )
    )
    assert (
        answer == "The sources disagree: The daily allowance is 64 euros in Germany. [1] "
        "The daily allowance is 58 euros in Germany. [2]"
    )
    answer = "".join(
        answer_pieces(
            [found(question, first, (2, "Policy B", "The daily allowance is 64 euros in Germany."))]
        )
    )
    assert "[2]" not in answer


def test_a_number_in_other_words_is_heard_as_well() -> None:
    """Two companies' sizes are no disagreement; two sizes of one company may be."""
    question = "How many people does Velkor Dynamics employ?"
    first = (1, "Velkor Dynamics", "Velkor Dynamics builds lamps. It employs 412 people.")
    second = (2, "Register", "A register says that 380 people work for Velkor Dynamics.")
    other = (2, "Register", "Morvik Systems has a workforce of 90 people.")
    assert "380 people" in "".join(answer_pieces([found(question, first, second)]))
    assert "90 people" not in "".join(answer_pieces([found(question, first, other)]))


def test_a_number_that_is_asked_to_be_confirmed_is_denied_as_well() -> None:
    """Whoever asks whether 318 is right hears the source that says 290, which names whom it speaks of a sentence before."""
    first = (1, "Log", "Wexholm Harbour counted 318 boats in 2031.")
    second = (2, "Gazette", "Wexholm Harbour is quiet. Only 290 boats were counted in 2031.")
    other = (2, "Gazette", "Wexholm Harbour is quiet. Its rival Pebblon counted 700 boats in 2031.")
    question = "Did Wexholm Harbour count 318 boats in 2031?"
    answer = "".join(answer_pieces([found(question, first, second)]))
    assert answer.startswith("The sources disagree: Wexholm Harbour counted 318 boats")
    assert "Only 290 boats were counted in 2031. [2]" in answer
    assert "700" not in "".join(answer_pieces([found(question, first, other)]))


def test_without_a_name_nothing_disagrees() -> None:
    """Two companies founded in two years are no disagreement about "it"."""
    pair = (1, "A", "Velkor was founded in 1962."), (2, "B", "Morvik was founded in 1978.")
    assert "disagree" not in "".join(answer_pieces([found("When was it founded?", *pair)]))


def test_what_does_not_answer_is_not_dragged_along() -> None:
    """One thing is asked for, and the title says of whom: no sentence before it, and none behind it."""
    text = "The margin was 4 per cent.\nSince 2011 the company has been led by Karl Emm. The plant is small."
    answer = "".join(answer_pieces([found("Who leads Dornick Gravel?", (1, "Dornick Gravel", text))]))
    assert answer == "Since 2011 the company has been led by Karl Emm. [1]"


def test_when_is_answered_by_a_date() -> None:
    """Of two sentences with the words of the question, the one that tells when."""
    text = "The tram fleet has 14 cars that are electric. The tram fleet is to be all-electric in 2044."
    answer = "".join(
        answer_pieces([found("When will the tram fleet be fully electric?", (1, "Trams", text))])
    )
    assert answer == "The tram fleet is to be all-electric in 2044. [1]"
