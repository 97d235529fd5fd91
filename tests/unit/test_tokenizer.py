"""The runtime's token ids are open_clip's, for every string."""

from __future__ import annotations

import html
from pathlib import Path

import ftfy
import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer as Encoder

from ragturbo_runtime.errors import BundleCorruptError, InvalidInputError
from ragturbo_runtime.tokenizer import Tokenizer, clean
from training.family.tokenizer_json import tokenizer_json, write_tokenizer_json

OPEN_CLIP = SimpleTokenizer()
ENCODER = Encoder.from_str(tokenizer_json())
TOKENIZER = Tokenizer(ENCODER, 77, path=Path("tokenizer.json"))

TRAPS = (
    "",
    " ",
    "a red bus left of two cats",
    "It's, they'RE; we'll I'd I'M can't 'S' o'clock",
    "'\u017f ca\u017fe '\u017ftop",
    "<start_of_text>",
    "<end_of_text><end_of_text>",
    "<<start_of_text>>",
    "<START_OF_TEXT> x<End_Of_Text>y",
    "<\u017ftart_of_text> <\u017fTART_OF_TEXT>",
    "a<start_of_text>b 1<end_of_text>2 !<end_of_text>!",
    "<start_of_text",
    "<|startoftext|> </w> a</w>b <start_of_text></w>",
    "&amp;lt;b&amp;gt; &eacute; &#128512; &#xD800; &notanentity; &",
    "&lt;start_of_text&gt; &amp;lt;end_of_text&amp;gt;",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 1️⃣ 👍🏽",
    "\U0001fae9 \U0001fabe \u1c89 \ua7cb \U00010d50 \U00011bc0 \U0001ccd6",
    "Straße STRASSE ẞ İstanbul ıI K Å Ω ς Σ ϐ",
    "\u0345 α\u0345 ᾳ e\u0301 é \u0300",
    "١٢٣ ½ Ⅷ ⅷ ⑨ ² 〇 四 𝟘 10,000.5",
    "中文字符没有空格 日本語テキスト 한국어 ไทย हिन्दी",
    "\ufb01\ufb05\ufb06 ｆｕｌｌｗｉｄｔｈ ﷺ",
    "\x00\x01\x1b[31mred\x1b[0m\x7f \x1c\x1d\x1e\x1f\x85\u2028\u2029",
    "\u00a0\u2003\u3000\u200b\u2060\ufeff\u180e\u00ad x",
    "schÃ¶n â€œquotedâ€\x9d cafÃ© ðŸ˜€",
    "\ud83d\ude00 \ud800 \udfff",
    "\ue000 \uffff \ufffd \U0010ffff \U000f0000",
    "Ġhello ÄĢ ĉ ß</w>",
    "_under_score __init__ -- --- ... !!! ??? @#$%^*()[]{}|\\/~`",
    "tab\tnew\nline\r\nform\ffeed\vvertical",
    "word " * 200,
    "supercalifragilisticexpialidocious" * 20,
    "字" * 300,
    "!" * 400,
    "1234567890" * 30,
)

FRAGMENTS = st.sampled_from(
    [t for t in TRAPS if len(t) < 120]
    + [
        "'s",
        "'T",
        "'re",
        "'ve",
        "'\u017f",
        "<",
        ">",
        "<start_of_text>",
        "<end_of_text>",
        "&",
        ";",
        "&lt;",
        "&amp;",
    ]
    + ["\u017f", "\u0130", "\u0131", "\u212a", "ß", "ẞ", " ", "\n", "\x1b", "\x85", "e\u0301", "🙂", "\u200d"]
)


def expected_ids(text: str) -> list[int]:
    return [int(i) for i in OPEN_CLIP([text])[0]]


def assert_equal_ids(text: str) -> None:
    assert TOKENIZER.encode([text]).input_ids[0].tolist() == expected_ids(text), repr(text)


@pytest.mark.parametrize("text", TRAPS, ids=range(len(TRAPS)))
def test_traps_have_open_clips_ids(text: str) -> None:
    assert_equal_ids(text)


@settings(max_examples=3_000)
@given(st.text(max_size=120))
def test_any_text_has_open_clips_ids(text: str) -> None:
    assert_equal_ids(text)


@settings(max_examples=2_000)
@given(st.lists(FRAGMENTS | st.text(max_size=4), max_size=12).map("".join))
def test_joined_traps_have_open_clips_ids(text: str) -> None:
    assert_equal_ids(text)


@settings(max_examples=500)
@given(st.text(alphabet=st.characters(codec="ascii"), max_size=200))
def test_ascii_takes_the_short_cut_only_where_it_changes_nothing(text: str) -> None:
    slow = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    assert clean(text) == " ".join(slow.split()).lower()


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from("a the cat unbelievable's 42 café 🙂🙂 don't x-ray".split()),
        min_size=60,
        max_size=220,
    )
)
def test_long_prompts_are_cut_as_open_clip_cuts_them(words: list[str]) -> None:
    text = " ".join(words)
    assert_equal_ids(text)
    batch = TOKENIZER.encode([text])
    cut = batch.cut[0]
    kept = words[: len(words) - len(cut)]
    assert list(cut) == words[len(kept) :]
    assert len(OPEN_CLIP.encode(" ".join(kept))) <= 75
    if cut:
        assert len(OPEN_CLIP.encode(" ".join(words[: len(kept) + 1]))) > 75


def split_spans(text: str) -> list[tuple[int, int]]:
    return [span for _, span in ENCODER.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("plane", range(17))
def test_every_code_point_is_split_as_open_clip_splits_it(plane: int) -> None:
    # Planes 4 to 13 are unassigned and 15, 16 private: a sample will do there.
    step = 1 if plane in (0, 1, 2, 3, 14) else 61
    points = [chr(c) for c in range(plane << 16, (plane + 1) << 16, step) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(points), 4096):
        chunk = points[start : start + 4096]
        # A letter joins the a, anything else the exclamation mark, a number neither.
        for text in (" ".join(f"a{c}!" for c in chunk), " ".join(f"1{c}{c}'{c}" for c in chunk)):
            assert split_spans(text) == [m.span() for m in regex.finditer(OPEN_CLIP.pat, text)]


def test_every_character_of_the_basic_plane_has_open_clips_ids() -> None:
    points = [chr(c) for c in range(0x10000) if not 0xD800 <= c < 0xE000]
    for start in range(0, len(points), 16):
        assert_equal_ids(" ".join(f"{c}a{c}" for c in points[start : start + 16]))


def test_batch_pads_with_zero_after_the_end_token() -> None:
    batch = TOKENIZER.encode(["", "a cat"])
    assert batch.input_ids.dtype == np.int64
    assert batch.input_ids.shape == (2, 77)
    assert batch.eos_index.tolist() == [1, 3]
    assert batch.input_ids[0, :3].tolist() == [49406, 49407, 0]
    assert batch.cut == ((), ())


def test_shortened_keeps_everything_but_the_padding() -> None:
    batch = TOKENIZER.encode(["a cat", "two small dogs"])
    short = batch.shortened()
    assert short.input_ids.shape == (2, int(batch.eos_index.max()) + 1)
    assert not batch.input_ids[:, short.input_ids.shape[1] :].any()
    assert np.array_equal(short.input_ids, batch.input_ids[:, : short.input_ids.shape[1]])


def test_cut_names_the_part_that_was_not_read_where_there_are_no_spaces() -> None:
    text = "字" * 300
    (cut,) = TOKENIZER.encode([text]).cut
    assert len(cut) == 1
    assert 0 < len(cut[0]) < 300


def test_a_prompt_that_is_no_string_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="prompt is 3, expected a string"):
        TOKENIZER.encode([3])  # type: ignore[list-item]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = write_tokenizer_json(tmp_path / "tokenizer.json")
    assert Tokenizer.load(path).encode(["a cat"]).eos_index.tolist() == [3]
    path.write_text(path.read_text(encoding="utf-8")[:-100], encoding="utf-8")
    with pytest.raises(BundleCorruptError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer.load(path)


def test_a_foreign_vocabulary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_json().replace('"<end_of_text>"', '"<eos>"'), encoding="utf-8")
    with pytest.raises(BundleCorruptError, match="no <start_of_text> or <end_of_text> in the vocabulary"):
        Tokenizer.load(path)
