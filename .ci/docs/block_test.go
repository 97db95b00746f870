package main

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatIsToBeDoneIsFound(t *testing.T) {
	t.Parallel()
	const page = "Text.\n\n```sh\na\nb\n```\n\n```yaml /etc/x.yaml\nk: v\n```\n```yaml added to /etc/x.yaml\nl: w\n```\n" +
		"<!-- walk: hidden -->\n```console\n$ c\nout\n```\n```text\n    just a picture\n```\n- a list\n"
	blocks, err := parse("page.md", page)
	if err != nil {
		t.Fatal(err)
	}
	want := []block{
		{"page.md", 4, commands, "", "a\nb\n"},
		{"page.md", 9, file, "/etc/x.yaml", "k: v\n"},
		{"page.md", 12, addition, "/etc/x.yaml", "l: w\n"},
		{"page.md", 14, commands, "", "hidden\n"},
		{"page.md", 16, session, "", "$ c\nout\n"},
	}
	if !slices.Equal(blocks, want) {
		t.Errorf("%+v, want %+v", blocks, want)
	}
}

func TestBlocksThatDoNotSayWhatTheyAreAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"    make install\n":      "page.md:1: an indented block does not say what it is",
		"\n```\nmake\n```\n":      "page.md:2: want ```sh, ```console, a path",
		"```cobol\nmake\n```\n":   "page.md:1: want ```sh, ```console, a path",
		"```sh\nmake install\n\n": "has no end",
	} {
		if _, err := parse("page.md", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestPagesHaveNoLineThatIsForgotten(t *testing.T) {
	t.Chdir("../..")
	blocks, err := read(pages)
	if err != nil || len(blocks) < 30 {
		t.Errorf("%d blocks, %v", len(blocks), err)
	}
}

func TestSessionsAreComparedButForWhatVaries(t *testing.T) {
	t.Parallel()
	const pin, other = "yQycxa6xwwt1gemiurppDENJpbggvwGKRui2oPzp1WU=", "nVde2KiJbe/BIXNm5Q5DJ2JyNC3psjk2x6vxwajI37Q="
	for _, test := range []struct{ shown, printed, want string }{
		{"a\nb\n", "a\nb\n", ""},
		{"active " + pin + "\n", "active " + other + "\n", ""},
		{"until 2026-12-21 15:26 UTC, 89 days left\n", "until 2027-01-01 00:00 UTC, 90 days left\n", ""},
		{"a\n...\n", "a\nb\nc\n", ""},
		{"a\n...\nd\n", "a\nb\nc\nd\n", ""},
		{"a\nb\n", "a\nc\n", "line 2"},
		{"a\nb\n", "a\n", "line 2"},
		{"a\n", "a\nb\n", "more than is shown"},
		{"a\n...\nd\n", "a\nb\n", "nowhere"},
	} {
		if got := differs(test.shown, test.printed); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%q, and printed %q: %q, want %q", test.shown, test.printed, got, test.want)
		}
	}
}
