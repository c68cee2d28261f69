import pytest

from sockwatch.collect.attributes import FIELDS, Attribute, extensions_for


@pytest.mark.parametrize(
    ("name", "offset", "size"),
    [
        ("rto", 8, 4),
        ("total_retrans", 100, 4),
        ("pacing_rate", 104, 8),
        ("segs_out", 136, 4),
        ("sndbuf_limited", 184, 8),
        ("bytes_sent", 200, 8),
        ("snd_wnd", 228, 4),
        ("total_rto_recoveries", 242, 2),
        ("total_rto_time", 244, 4),
        ("received_ce", 248, 4),
        ("accecn_opt_seen", 278, 2),
    ],
)
def test_tcp_info_has_its_fields_where_pahole_shows_them(name: str, offset: int, size: int) -> None:
    assert (FIELDS[name].attribute, FIELDS[name].offset, FIELDS[name].size) == (Attribute.INFO, offset, size)


def test_extensions_are_the_bits_of_what_must_be_asked_for() -> None:
    assert extensions_for([]) == 0
    assert extensions_for([Attribute.INFO]) == 0b10
    assert extensions_for([Attribute.INFO, Attribute.SKMEMINFO, Attribute.INFO]) == 0b100_0010
    assert extensions_for([Attribute.BBRINFO]) == 0b100
    assert extensions_for([Attribute.CLASS_ID, Attribute.TCLASS]) == 0b10_0000
    assert extensions_for([Attribute.MARK, Attribute.SKV6ONLY]) == 0


def test_no_name_means_two_things() -> None:
    places = [(field.attribute, field.offset) for field in FIELDS.values()]
    assert len(set(places)) == len(places)
