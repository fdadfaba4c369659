package pseudonym_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"earworm/internal/pseudonym"
)

func key(b byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 64))
}

func TestKeyedIdsAreDeterministicHiddenAndReversible(t *testing.T) {
	m, err := pseudonym.Parse([]byte("# comment\n\n7:" + key(1) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "listener-42", strings.Repeat("x", 256)} {
		first, err := m.Append(nil, []byte(id))
		if err != nil {
			t.Fatal(err)
		}
		second, _ := m.Append([]byte("prefix"), []byte(id))
		if !bytes.Equal(first, second[len("prefix"):]) {
			t.Fatal("two pseudonyms for one id")
		}
		if len(id) > 3 && bytes.Contains(first, []byte(id)) {
			t.Fatal("the id shows in its pseudonym")
		}
		if len(first) != len(id)+pseudonym.Overhead {
			t.Fatalf("overhead %d, want %d", len(first)-len(id), pseudonym.Overhead)
		}
		back, err := m.Reveal(first)
		if err != nil || string(back) != id {
			t.Fatalf("Reveal = %q, %v", back, err)
		}
		first[len(first)-1] ^= 1
		if _, err := m.Reveal(first); !errors.Is(err, pseudonym.ErrForeign) {
			t.Fatalf("a forged pseudonym gave %v", err)
		}
	}
}

func TestRotationReadsOlderPseudonymsAndWritesWithTheFirstKey(t *testing.T) {
	older, _ := pseudonym.Parse([]byte("1:" + key(1)))
	rotated, err := pseudonym.Parse([]byte("2:" + key(2) + "\n1:" + key(1)))
	if err != nil {
		t.Fatal(err)
	}
	old, _ := older.Append(nil, []byte("someone"))
	if id, err := rotated.Reveal(old); err != nil || string(id) != "someone" {
		t.Fatalf("Reveal = %q, %v", id, err)
	}
	fresh, _ := rotated.Append(nil, []byte("someone"))
	if _, err := older.Reveal(fresh); !errors.Is(err, pseudonym.ErrForeign) {
		t.Fatalf("a pseudonym of an unknown key gave %v", err)
	}
}

func TestWithoutAKeyIdsPassUnchanged(t *testing.T) {
	var m pseudonym.Mapper
	got, err := m.Append(nil, []byte("plain"))
	if err != nil || string(got) != "plain" {
		t.Fatalf("Append = %q, %v", got, err)
	}
	if id, err := m.Reveal(got); err != nil || string(id) != "plain" {
		t.Fatalf("Reveal = %q, %v", id, err)
	}
	if _, err := m.Append(nil, []byte("\x01x")); err == nil {
		t.Fatal("a plain id that looks like an envelope passed")
	}
}

func TestBadKeyFilesAreRefusedWithoutShowingTheKey(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no colon": "secretsecret", "short": "1:c2VjcmV0", "not base64": "1:secret!!",
		"id too large": "256:" + key(1), "twice": "1:" + key(1) + "\n1:" + key(2),
	} {
		_, err := pseudonym.Parse([]byte(text))
		if err == nil {
			t.Fatalf("%s: accepted", name)
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), key(1)) {
			t.Fatalf("%s: the error shows the key: %v", name, err)
		}
	}
}

// TestAllNames: what was stored under older keys, and before there was one, is found too.
func TestAllNames(t *testing.T) {
	var stored [][]byte
	for _, keys := range []string{"9:" + key(1) + "\n", "2:" + key(2) + "\n", "5:" + key(3) + "\n"} {
		m, err := pseudonym.Parse([]byte(keys))
		if err != nil {
			t.Fatal(err)
		}
		name, err := m.Append(nil, []byte("ann"))
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, name)
	}
	m, err := pseudonym.Parse([]byte("9:" + key(1) + "\n" + "2:" + key(2) + "\n" + "5:" + key(3) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := m.All([]byte("ann"))
	stored = append(stored, []byte("ann"))
	if err != nil || !slices.EqualFunc(all, stored, bytes.Equal) {
		t.Errorf("got %q, %v, want %q", all, err, stored)
	}
	if all, err := (&pseudonym.Mapper{}).All([]byte("ann")); err != nil || len(all) != 1 || string(all[0]) != "ann" {
		t.Errorf("without keys: %q, %v", all, err)
	}
}
