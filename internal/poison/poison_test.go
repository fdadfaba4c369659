//go:build crash && linux

package poison_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"earworm/consumers/feed"
	"earworm/consumers/listener"
	"earworm/consumers/stream"
	"earworm/internal/broker"
	"earworm/internal/config"
	"earworm/internal/service"
	"earworm/internal/testkit/process"
	"earworm/schemas"
)

var (
	seedFlag    = flag.Uint64("seed", 1, "seed of the records")
	recordsFlag = flag.Int("records", 0, "how many records are sent; 0 is what the test takes in CI")
	builder     = process.NewBuilder()
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := errors.Join(builder.Close(), goleak.Find()); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

const (
	// recordsInCI is enough for every mutation.
	recordsInCI = 20_000
	// goodEvery is how many records lie between two good ones, each of which is sent twice.
	goodEvery = 25
	fans      = 40 // who sends them
	// growthMax bounds what the process may take more of memory at the end than at the beginning.
	growthMax = 50 << 20
	// warm is how many records a process must have seen before its memory says anything: a heap that has just begun only grows.
	warm = 200_000
	// memoryLimit is what the process is told to stay within, residentMax what it may take while bombs go off.
	memoryLimit = "512MiB"
	residentMax = 640 << 20
	// skipMax is how long bombs may hold up what comes after them.
	skipMax = 30 * time.Second
	token   = "of-this-test-alone"
	patient = 5 * time.Minute
)

// Marks of a record that was sent.
const (
	mustRefuse = 1 << iota
	mustApply
	lettered
)

// sent is what was sent to one partition of one topic, by offset.
type sent struct {
	hashes []uint64
	marks  []byte
}

// system is the binary, its broker, and the books of what was sent.
type system struct {
	tb     testing.TB
	cfg    config.Config
	topics schemas.Topics
	broker *broker.Broker
	child  *process.Child
	admin  string
	web    string
	client *kgo.Client
	feed   *feed.Client

	mu     sync.Mutex
	books  map[stream.TopicPartition]*sent
	failed error // of producing

	lost, duplicated, wrong int
	notes                   int
}

func start(t *testing.T) *system {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Config{Dir: filepath.Join(t.TempDir(), "broker"), MessageBytesMax: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	ports, err := process.FreePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	s := &system{tb: t, broker: b, books: map[stream.TopicPartition]*sent{}}
	s.web, s.admin = fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	s.cfg = config.Default()
	s.cfg.Kafka.Brokers, s.cfg.Topics.Partitions = b.Addrs(), 4
	s.topics = service.Topics(s.cfg)
	s.child = process.Run(t, process.Config{
		Path: builder.Binary(t, process.Build{Package: "earworm/cmd/earworm"}),
		Env:  []string{"GOMEMLIMIT=" + memoryLimit, "EARWORM_HTTP_ADMIN_TOKEN=" + token},
		Args: []string{
			"serve", "--clock=false", "--instance", "one", "--kafka.brokers", strings.Join(b.Addrs(), ","), "--topics.partitions", "4",
			"--state.dir", filepath.Join(t.TempDir(), "state"), "--state.low-disk-bytes", "0",
			// Buffers and caches fill up over minutes to what the settings allow; small ones are full before memory is compared.
			"--state.memtable-bytes", "1MiB", "--state.cache-bytes", "8MiB", "--listener.cache-bytes", "8MiB",
			"--http.listen", strings.TrimPrefix(s.web, "http://"), "--http.admin-listen", strings.TrimPrefix(s.admin, "http://"),
		},
	})
	s.child.MustReady(t, s.web+"/readyz", time.Minute)
	options, err := service.KafkaOptions(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s.feed, err = feed.New(feed.Config{App: s.cfg.App, Topics: s.topics, Partitions: 4, ClientOptions: options}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.feed.Close)
	s.client, err = kgo.NewClient(append(options, kgo.ProducerBatchMaxBytes(4<<20), kgo.MaxBufferedRecords(50_000))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	return s
}

// topic returns where a record of a kind goes.
func (s *system) topic(what string) string {
	return map[string]string{"event": s.topics.Events, "profile": s.topics.Users, "song": s.topics.Catalog}[what]
}

// send produces a record and books it.
func (s *system) send(r *forged, mark byte) {
	rec := &kgo.Record{Topic: s.topic(r.topic), Key: r.key, Value: r.value, Headers: r.headers}
	s.client.Produce(context.Background(), rec, func(rec *kgo.Record, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.failed = errors.Join(s.failed, err)
			return
		}
		s.bookLocked(stream.TopicPartition{Topic: rec.Topic, Partition: rec.Partition}, rec.Offset, hashOf(rec.Key, rec.Value), mark)
	})
}

func (s *system) bookLocked(from stream.TopicPartition, offset int64, hash uint64, mark byte) {
	b := s.books[from]
	if b == nil {
		b = &sent{}
		s.books[from] = b
	}
	if offset != int64(len(b.hashes)) {
		s.failed = errors.Join(s.failed, fmt.Errorf("%v: offset %d after %d records", from, offset, len(b.hashes)))
	}
	b.hashes, b.marks = append(b.hashes, hash), append(b.marks, mark)
}

// hashOf tells records apart, null from empty too.
func hashOf(key, value []byte) uint64 {
	d := xxhash.New()
	for _, part := range [][]byte{key, value} {
		_, _ = fmt.Fprintf(d, "%t %d ", part == nil, len(part))
		_, _ = d.Write(part)
	}
	return d.Sum64()
}

// settle waits until all of it is committed state.
func (s *system) settle() {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	defer cancel()
	if err := s.client.Flush(ctx); err != nil {
		s.tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case <-s.child.Done():
			cancel()
		}
	}()
	err := s.feed.Drain(ctx)
	close(done)
	if !s.child.Running() {
		s.tb.Fatalf("the process ended:\n%s", s.child.Tail(40))
	}
	if err != nil {
		s.tb.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		s.tb.Fatal(s.failed)
	}
}

// memory returns a field of the process's status, in bytes: VmRSS now, VmHWM the most there was.
func (s *system) memory(field string) int64 {
	s.tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.child.PID()))
	if err != nil {
		s.tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if name, rest, ok := strings.Cut(line, ":"); ok && name == field {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				s.tb.Fatal(err)
			}
			return kib << 10
		}
	}
	s.tb.Fatalf("no %s in the status of the process", field)
	return 0
}

// get asks the process.
func (s *system) get(url string) []byte {
	s.tb.Helper()
	request, err := http.NewRequestWithContext(s.tb.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		s.tb.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.tb.Fatalf("%s: %d %s %v", url, response.StatusCode, body, err)
	}
	return body
}

// metric adds up the values of a metric.
func (s *system) metric(name string) (sum float64) {
	s.tb.Helper()
	for line := range strings.Lines(string(s.get(s.web + "/metrics"))) {
		label, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if label == name || strings.HasPrefix(label, name+"{") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.tb.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

var recordsTotal = regexp.MustCompile(`^earworm_stream_records_total\{(.*)\} (\S+)$`)

// counts reads the outcomes that the process has committed, by input partition.
func (s *system) counts() map[stream.TopicPartition]map[string]int64 {
	s.tb.Helper()
	out := map[stream.TopicPartition]map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(s.get(s.web + "/metrics")))
	for lines.Scan() {
		match := recordsTotal.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		labels := map[string]string{}
		for pair := range strings.SplitSeq(match[1], ",") {
			name, value, _ := strings.Cut(pair, "=")
			labels[name] = strings.Trim(value, `"`)
		}
		partition, err := strconv.Atoi(labels["partition"])
		n, err2 := strconv.ParseFloat(match[2], 64)
		if err := errors.Join(err, err2); err != nil {
			s.tb.Fatal(err)
		}
		from := stream.TopicPartition{Topic: labels["topic"], Partition: int32(partition)}
		if out[from] == nil {
			out[from] = map[string]int64{}
		}
		out[from][labels["outcome"]] += int64(n)
	}
	return out
}

func (s *system) complain(counter *int, n int, format string, args ...any) {
	s.tb.Helper()
	*counter += n
	if s.notes++; s.notes <= 20 {
		s.tb.Errorf(format, args...)
	}
}

// TestPoison sends broken records, with good ones between them, and then batches that cannot be unpacked.
func TestPoison(t *testing.T) {
	records := cmp.Or(*recordsFlag, recordsInCI)
	t.Logf("seed %d", *seedFlag)
	began := time.Now()
	f := newForge(t, *seedFlag, began.UnixMilli())
	s := start(t)
	rig := newInline(t)
	var resident []int64 // of the process, after each step
	step := min(max(records/20, 1000), 50_000)
	good := map[string]int64{}
	for n := range records {
		r := f.next()
		if r.topic != "song" {
			topic := map[string]string{"event": schemas.NewTopics("inline").Events, "profile": schemas.NewTopics("inline").Users}[r.topic]
			if err := rig.take(topic, &r, began); err != nil {
				t.Fatalf("record %d, %.200q: %v", n, r.value, err)
			}
		}
		var mark byte
		if r.must {
			mark = mustRefuse
		}
		s.send(&r, mark)
		if n%goodEvery == 0 {
			s.sendGood(f, good)
		}
		if (n+1)%step == 0 {
			s.settle()
			resident = append(resident, s.memory("VmRSS"))
			t.Logf("%d of %d records, %d MiB resident, %.0f rows of factors, longest record %v", n+1, records, resident[len(resident)-1]>>20,
				s.metric("earworm_table_rows"), rig.longest)
		}
	}
	s.settle()
	seconds := time.Since(began).Seconds()
	growth := s.grown(resident, records)
	skipped, peak, took := s.detonate(f, good)
	letters := s.readLetters()
	s.judge(good, letters)
	if rig.slow > 0 {
		s.complain(&s.wrong, rig.slow, "%d records took more than %v of processor time, one %v", rig.slow, hang, rig.longest)
	}
	t.Logf("%d records in %.0f s (%d kinds of mutation), %d dead letters; longest record %v of processor time; resident memory grew by %d MiB",
		records, seconds, len(f.used), letters, rig.longest, growth>>20)
	t.Logf("%d batches that cannot be unpacked, skipped in %v; resident at most %d MiB", skipped, took.Round(time.Millisecond), peak>>20)
	s.child.MustTerminate(t, 20*time.Second, 0)
	t.Logf("%d lost, %d duplicated, %d wrong of %d", s.lost, s.duplicated, s.wrong, records)
}

// sendGood sends an event that must count, twice.
func (s *system) sendGood(f *forge, good map[string]int64) {
	fan := fmt.Sprintf("fan-%02d", f.rng.IntN(fans))
	r := forged{topic: "event", key: []byte(fan), value: f.event(fan, "good-"+strconv.Itoa(f.rng.IntN(50)))}
	good[fan]++
	s.send(&r, mustApply)
	s.send(&r, mustApply)
}

// grown compares the most that the process took in the last third with the most in the first: a heap goes up and down.
func (s *system) grown(resident []int64, records int) int64 {
	s.tb.Helper()
	third := max(len(resident)/3, 1)
	growth := slices.Max(resident[len(resident)-third:]) - slices.Max(resident[:third])
	if growth > growthMax && records >= warm {
		s.complain(&s.wrong, 1, "resident memory grew by %d MiB: %v", growth>>20, resident)
	}
	return growth
}

// detonate sends batches that cannot be unpacked, with good events before and after each of them.
func (s *system) detonate(f *forge, good map[string]int64) (skipped int, peak int64, took time.Duration) {
	s.tb.Helper()
	list, err := bombs()
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.child.PID()), []byte("5"), 0o600); err != nil {
		s.tb.Logf("the peak of resident memory is that of the whole run: %v", err)
	}
	began := time.Now()
	topic := s.topics.Events
	for _, b := range list {
		for range 20 {
			s.sendGood(f, good)
		}
		if err := s.client.Flush(context.Background()); err != nil {
			s.tb.Fatal(err)
		}
		const n = 3
		for partition := range int32(4) {
			offset, err := throw(context.Background(), s.client, s.broker.Cluster().LeaderFor(topic, partition), topic,
				s.broker.Cluster().TopicInfo(topic).TopicID, partition, n, b)
			if err != nil {
				s.tb.Fatalf("%s: %v", b.name, err)
			}
			s.mu.Lock()
			for i := range int64(n) {
				s.bookLocked(stream.TopicPartition{Topic: topic, Partition: partition}, offset+i, 0, mustRefuse)
			}
			s.mu.Unlock()
			skipped++
		}
	}
	for range 20 {
		s.sendGood(f, good)
	}
	s.settle()
	took, peak = time.Since(began), s.memory("VmHWM")
	if took > skipMax {
		s.complain(&s.wrong, 1, "it took %v to get over %d batches", took, skipped)
	}
	if peak > residentMax {
		s.complain(&s.wrong, 1, "resident memory came to %d MiB", peak>>20)
	}
	return skipped, peak, took
}

// readLetters compares every dead letter with the record it says it is.
func (s *system) readLetters() (letters int) {
	s.tb.Helper()
	options, err := service.KafkaOptions(s.cfg)
	if err != nil {
		s.tb.Fatal(err)
	}
	err = stream.ReadAll(s.tb.Context(), options, []string{s.topics.DeadLetters}, func(rec *stream.Record) error {
		headers := make([]schemas.Header, 0, len(rec.Headers))
		last := map[string]string{}
		for _, h := range rec.Headers {
			headers = append(headers, schemas.Header{Key: h.Key, Value: h.Value})
			last[h.Key] = string(h.Value)
		}
		letter, _, ok := schemas.ParseDeadLetter(headers)
		if !ok {
			return fmt.Errorf("a dead letter at offset %d that says nothing of where it comes from", rec.Offset)
		}
		from := stream.TopicPartition{Topic: letter.Topic, Partition: letter.Partition}
		book := s.books[from]
		if book == nil {
			return nil // of an internal topic: an event that is too late, or one that its role refuses
		}
		next := letter.Offset + 1
		if text, ok := last[stream.HeaderNextOffset]; ok {
			if next, err = strconv.ParseInt(text, 10, 64); err != nil {
				return err
			}
		}
		for offset := letter.Offset; offset < next; offset++ {
			s.bury(from, book, offset, rec, last)
			letters++
		}
		return nil
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return letters
}

// bury marks one record as refused.
func (s *system) bury(from stream.TopicPartition, book *sent, offset int64, rec *stream.Record, headers map[string]string) {
	s.tb.Helper()
	switch {
	case offset < 0 || offset >= int64(len(book.hashes)):
		s.complain(&s.wrong, 1, "%v: a dead letter of offset %d, which nobody sent", from, offset)
		return
	case book.marks[offset]&lettered != 0:
		s.complain(&s.duplicated, 1, "%v: two dead letters of offset %d", from, offset)
	case book.marks[offset]&mustApply != 0:
		s.complain(&s.lost, 1, "%v: the good event at offset %d is a dead letter: %s", from, offset, headers[stream.HeaderErrorCode])
	case book.hashes[offset] != 0 && headers[stream.HeaderTruncated] == "" && hashOf(rec.Key, rec.Value) != book.hashes[offset]:
		s.complain(&s.wrong, 1, "%v: the dead letter of offset %d is not the record", from, offset)
	}
	book.marks[offset] |= lettered
}

// judge holds the counts of the process against what was sent.
func (s *system) judge(good map[string]int64, letters int) {
	s.tb.Helper()
	counts := s.counts()
	forwarded, dead := int64(0), int64(0)
	for from, book := range s.books {
		if from.Topic == s.topics.Catalog { // has no transactions, and keeps no accounts
			continue
		}
		sum := int64(0)
		for _, n := range counts[from] {
			sum += n
		}
		switch missing := int64(len(book.hashes)) - sum; {
		case missing > 0:
			s.complain(&s.lost, int(missing), "%v: %d records were sent, the outcomes are %v", from, len(book.hashes), counts[from])
		case missing < 0:
			s.complain(&s.duplicated, int(-missing), "%v: %d records were sent, the outcomes are %v", from, len(book.hashes), counts[from])
		}
		forwarded += counts[from]["applied"]
		dead += counts[from]["dead_lettered"]
		for offset, mark := range book.marks {
			if mark&mustRefuse != 0 && mark&lettered == 0 {
				s.complain(&s.wrong, 1, "%v: offset %d is no record that can be read, and was applied", from, offset)
			}
		}
	}
	if dead != int64(letters) {
		s.complain(&s.wrong, 1, "%d records are counted as dead letters, and there are %d", dead, letters)
	}
	listens := int64(0)
	for from, outcomes := range counts {
		if from.Topic == s.topics.Listens {
			for _, n := range outcomes {
				listens += n
			}
		}
	}
	if listens != forwarded || forwarded == 0 {
		s.complain(&s.wrong, 1, "ingest applied %d records, and %d listens were consumed", forwarded, listens)
	}
	for fan, want := range good {
		var i listener.Inspection
		if err := json.Unmarshal(s.get(s.admin+"/inspect/listener/"+fan), &i); err != nil {
			s.tb.Fatal(err)
		}
		switch got := int64(i.Events); {
		case got < want:
			s.complain(&s.lost, int(want-got), "%s has %d events of %d", fan, got, want)
		case got > want:
			s.complain(&s.duplicated, int(got-want), "%s has %d events of %d", fan, got, want)
		}
	}
}
