//go:build crash || kafka

package chaos_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"earworm/consumers/stream"
)

func TestOutages(t *testing.T) {
	busy, quiet := place{"listener", stream.TopicPartition{Topic: "t", Partition: 0}}, place{"listener", stream.TopicPartition{Topic: "t", Partition: 1}}
	at := func(committed int64) standings { return standings{busy: {committed, 100}, quiet: {50, 50}} }
	o := &outages{times: map[string][]time.Duration{}}
	o.struck(faultKill) // nothing is known yet
	if len(o.open) != 0 {
		t.Fatal("an outage began before the first look")
	}
	now := time.Now()
	o.seen(now, at(10), nil)
	o.struck(faultWorker)
	o.seen(now, nil, errors.New("away"))
	o.seen(now.Add(2*time.Second), at(10), nil)
	if len(o.open) != 1 || len(o.times) != 0 {
		t.Fatalf("over before there was progress: %v", o)
	}
	o.seen(now.Add(3*time.Second), at(11), nil)
	if got := o.times[faultWorker]; len(got) != 1 || got[0] < 2900*time.Millisecond || got[0] > 3*time.Second {
		t.Errorf("times are %v, want 3 s", got)
	}
	if err := o.over(t.Context()); err != nil {
		t.Error(err)
	}
	o.struck(faultWorker)
	o.struck(faultKill) // before the first was over
	o.seen(now.Add(8*time.Second), at(12), nil)
	if len(o.times[faultWorker]) != 1 || len(o.times[faultKill]) != 1 || o.mixed != 1 {
		t.Errorf("one fault after the other: %v, %d mixed", o.times, o.mixed)
	}
	if p99, of := o.worst(); of != 2 || p99 < 7*time.Second {
		t.Errorf("worst is %v of %d", p99, of)
	}
	if text := o.String(); !strings.Contains(text, faultKill+": p50 8.0 s") {
		t.Errorf("said: %s", text)
	}
}
