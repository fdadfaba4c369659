package erasure

import "testing"

func TestMentions(t *testing.T) {
	t.Parallel()
	p := newPerson([]byte("u-17"), [][]byte{[]byte("\x01\x02sealed")}, map[string]string{"abo": "user_id", "lied": "song_id"})
	number := newPerson([]byte("17"), nil, nil)
	for _, test := range []struct {
		who        *person
		key, value string
		want       bool
	}{
		{p, "u-17", "", true},
		{p, "\x01\x02sealed", "x", true},
		{p, "u-171", "", false},
		{p, "", `{"user_id":"u-17","song_id":"s"}`, true},
		{p, "", `{"abo":"u-17"}`, true},
		{p, "", `{"lied":"u-17"}`, false},
		{p, "", `{"user_id":"u-171"}`, false},
		{p, "", `{"song_id":"u-17"}`, false},
		{p, "", `{"specversion":"1.0","data":{"userId":"u-17"}}`, true},
		{p, "", `[{"user":"u-17"}]`, true},
		{p, "", `{"user_id":"u-17"`, true},               // cut off
		{p, "", `{"user_id":"u-171"`, false},             // somebody else, cut off
		{p, "", `{"user_id":"u-171"} {"u-17"`, true},     // two documents: no JSON
		{p, "", "user=u-17;song=s", true},                // another format
		{p, "", "user=xu-17", false},                     // the end of another word
		{p, "", "\x00\xffu-17\xff", true},                // no text at all
		{p, "", `{"user_id":"nobody"} u-171 u-17`, true}, // not the first time that it seems to stand there
		{number, "", `{"user_id":17}`, true},
		{number, "", `{"slot":17,"user_id":18}`, false},
		{number, "", `{"user_id":1.7e1}`, false},
	} {
		if got := test.who.in([]byte(test.key), []byte(test.value)); got != test.want {
			t.Errorf("%q %q: got %v, want %v", test.key, test.value, got, test.want)
		}
	}
}
