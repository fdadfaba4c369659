package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"earworm/consumers/letters"
	"earworm/internal/run"
	"earworm/schemas"
)

// lettersOf lists the letters that a filter chooses, once there are n of them.
func lettersOf(s *system, n int, flags ...string) []letterLine {
	s.tb.Helper()
	for deadline := time.After(20 * time.Second); ; {
		out := s.ok(append([]string{"dlq", "list", "--format", "ndjson"}, flags...)...)
		if strings.Contains(out, "ann") {
			s.tb.Fatalf("the list names a listener: %s", out)
		}
		var list []letterLine
		for line := range strings.Lines(out) {
			var l letterLine
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				s.tb.Fatal(err)
			}
			list = append(list, l)
		}
		if len(list) == n {
			return list
		}
		select {
		case <-deadline:
			s.tb.Fatalf("%d letters, want %d:\n%s", len(list), n, out)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestDLQ goes through the life of a dead letter as an operator would.
func TestDLQ(t *testing.T) {
	t.Parallel()
	s := startSystem(t, "EARWORM_DLQ_HEADER_STYLE=spring")
	if out := s.ok("dlq", "list"); out != "no dead letters\n" {
		t.Errorf("list of nothing: %q", out)
	}
	bad := `{"type":"play","user_id":"ann","song_id":"s1","at":0}`
	var problems bytes.Buffer
	in := strings.NewReader("no JSON\n" + bad + "\n")
	if code := execute(t.Context(), []string{"produce"}, streams{in: in, out: &bytes.Buffer{}, err: &problems}, s.environ); code != 0 {
		t.Fatal(problems.String())
	}
	lettersOf(s, 2)
	if table := s.ok("dlq", "list", "--topic", "music.events.v1", "--since", "1h", "--until", "2100-01-01"); strings.Count(table, "\n") != 3 ||
		!strings.Contains(table, "music.events.v1  bad_time  1        0           0") || strings.Contains(table, "ann") {
		t.Errorf("list:\n%s", table)
	}
	letter := lettersOf(s, 1, "--code", "bad_time")[0]
	if letter.Attempt != 1 || letter.Topic != "music.events.v1" || letter.ValueBytes != len(bad) || letter.Mark != "" {
		t.Errorf("%+v", letter)
	}
	shown := s.ok("dlq", "show", letter.Letter)
	for _, want := range []string{"code      bad_time, attempt 1\n", "from      music.events.v1, partition ", "header    kafka_dlt-original-topic: music.events.v1\n", "key       ann\n", bad + "\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
	if raw := s.ok("dlq", "show", letter.Letter, "--raw"); raw != bad {
		t.Errorf("raw: %q", raw)
	}
	if out := s.ok("dlq", "replay", "--code", "bad_time", "--dry-run"); out != "1 of 1 letters would be sent again\n" {
		t.Errorf("dry run: %q", out)
	}
	if out := s.ok("dlq", "replay", letter.Letter); out != "1 of 1 letters sent again\n" {
		t.Errorf("replay: %q", out)
	}
	for _, l := range lettersOf(s, 2, "--code", "bad_time") {
		first := l.Letter == letter.Letter
		if (l.Attempt == 1) != first || (l.Mark == schemas.MarkReplayed) != first {
			t.Errorf("after a replay: %+v", l)
		}
	}
	if out := s.ok("dlq", "show", letter.Letter); !strings.Contains(out, "sent      again already\n") {
		t.Errorf("show: %s", out)
	}
	if out := s.ok("dlq", "replay", "--code", "bad_time", "--to", "music.events.v1"); out != "1 of 2 letters sent again\n1 were sent again earlier\n" {
		t.Errorf("replay: %q", out)
	}
	if l := lettersOf(s, 3, "--code", "bad_time"); max(l[0].Attempt, l[1].Attempt, l[2].Attempt) != 3 {
		t.Errorf("attempts: %+v", l)
	}
	s.fails(run.CodeUsage, "no dead letter lies there", "dlq", "show", "0/99999")
	s.fails(run.CodeUsage, "topic nowhere does not exist", "dlq", "replay", "--to", "nowhere")
}

// TestMistakesOfDLQ end before brokers are asked.
func TestMistakesOfDLQ(t *testing.T) {
	t.Parallel()
	for problem, args := range map[string][]string{
		`--code is "nonsense"`:               {"dlq", "list", "--code", "nonsense"},
		`--since is "yesterday"`:             {"dlq", "list", "--since", "yesterday"},
		`--until is "-5h"`:                   {"dlq", "replay", "--until", "-5h"},
		`--format is "xml"`:                  {"dlq", "list", "--format", "xml"},
		"missing argument PARTITION/OFFSET":  {"dlq", "show"},
		`"7" is not the place of a letter`:   {"dlq", "show", "7"},
		`"a/b" is not the place of a letter`: {"dlq", "replay", "0/1", "a/b"},
		`unexpected argument "x"`:            {"dlq", "list", "x"},
		`unknown command "dlq purge"`:        {"dlq", "purge"},
	} {
		code, _, problems := command(t, nil, args...)
		if code != run.CodeUsage || !strings.Contains(problems, problem) || strings.Count(problems, "\n") != 1 {
			t.Errorf("%v: code %d, %q, want %q", args, code, problems, problem)
		}
	}
}

// TestLettersAreSafeToShow: what anybody could have sent does not steer the terminal, and what was erased is not shown.
func TestLettersAreSafeToShow(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := &letters.Letter{
		DeadLetter: schemas.DeadLetter{Topic: "t\x1b[2J", Code: schemas.CodeNotJSON, Exception: "E", Message: "m\r", Truncated: true, Attempt: 1},
		At:         time.Unix(0, 0), Key: []byte{0xff}, Value: []byte("a\x07b"),
		Headers: []schemas.Header{{Key: "k\x9b", Value: []byte("\x1b]0;x\x07")}},
	}
	if err := printLetter(&out, l); err != nil {
		t.Fatal(err)
	}
	want := "letter    0/0, 1970-01-01T00:00:00Z\nfrom      \"t\\x1b[2J\", partition 0, offset 0\ncode      not_json, attempt 1\n" +
		"error     E: \"m\\r\"\ntruncated the record was too large to be kept whole\n" +
		"header    \"k\\x9b\": \"\\x1b]0;x\\a\"\nkey       \"\\xff\"\n\"a\\ab\"\n"
	if out.String() != want {
		t.Errorf("got\n%q\nwant\n%q", out.String(), want)
	}
	out.Reset()
	l.Mark = schemas.MarkErased
	if err := printLetter(&out, l); err != nil || strings.Contains(out.String(), "key") || !strings.Contains(out.String(), "erased ") {
		t.Errorf("%v: %q", err, out.String())
	}
}
