from pipelines.tally import MAX_EXAMPLES, Tally, sum_stats, summarise


def make_tally():
    tally = Tally()
    tally.examples["train"] += 6
    tally.lose("blurred", "a.png")
    tally.lose("unreadable_part", "part-000001.zip", 2)
    tally.lose("no_words", "b.png")
    return tally


def test_every_row_is_counted_once():
    tally = make_tally()
    assert tally.rows == 10
    assert tally.reject_rate == 0.3
    assert tally.as_json()["rejected_examples"] == {
        "unreadable_part": ["part-000001.zip"],
        "no_words": ["b.png"],
    }
    assert tally.causes == "blurred 1, unreadable_part 2, no_words 1"


def test_stats_of_parts_add_up():
    total = sum_stats([make_tally().as_json()] * 7)
    assert total.rows == 70
    assert total.examples == {"train": 42, "validation": 0, "test": 0}
    assert total.dropped["blurred"] == 7
    assert total.rejected_examples["no_words"] == ["b.png"] * MAX_EXAMPLES


def test_nothing_at_all_has_a_rate():
    assert Tally().reject_rate == 0


def test_summary_has_each_count():
    lines = [line.rsplit(maxsplit=1) for line in summarise(make_tally()).splitlines()]
    counts = {name.strip(): int(count) for name, count in lines}
    assert counts["rows"] == 10 and counts["kept"] == counts["train"] == 6
    assert counts["blurred"] == 1 and counts["unreadable part"] == 2
    assert "undecodable image" not in counts
