package schemas

import "testing"

func TestLetterMarks(t *testing.T) {
	for _, m := range []LetterMark{
		{Partition: 3, Offset: 1 << 40, LetterAt: 1_795_414_350_000, State: MarkReplayed, To: "music.events.v1"},
		{State: MarkErased},
	} {
		value, err := m.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseLetterMark(m.Key(), value); err != nil || got != m {
			t.Errorf("got %+v, %v, want %+v", got, err, m)
		}
	}
	good := `{"state":"erased","letter_at":1}`
	for _, bad := range [][2]string{
		{"1/2", "{"}, {"1/2", `{"state":"lost"}`}, {"1", good}, {"/", good}, {"-1/2", good}, {"1/-2", good}, {"4294967296/1", good}, {"a/b", good}, {"", good},
	} {
		if m, err := ParseLetterMark([]byte(bad[0]), []byte(bad[1])); err == nil {
			t.Errorf("%q %q: accepted as %+v", bad[0], bad[1], m)
		}
	}
	if _, err := ParseLetterMark([]byte("1/2"), []byte(good)); err != nil {
		t.Error(err)
	}
}
