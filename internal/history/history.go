package history

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"earworm/schemas"
)

// namespace makes the ids of imported events: version 5 of the URL "earworm:import".
func namespace() uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte("earworm:import")) }

// Fields that a column can be mapped to. timestamp, user and item are required.
func fields() []string {
	return []string{
		"timestamp", "user", "item", "title", "artist", "album", "genres", "language", "region", "duration_ms",
		"ms_played", "rating",
	}
}

// Columns maps fields to the columns of a file.
type Columns map[string]string

// ParseColumns reads field=column pairs. Without any, every field is looked for under its own name.
func ParseColumns(pairs []string) (Columns, error) {
	c := Columns{}
	for _, pair := range pairs {
		field, column, ok := strings.Cut(pair, "=")
		if !ok || column == "" {
			return nil, fmt.Errorf("%q is not of the form field=column", pair)
		}
		if !slices.Contains(fields(), field) {
			return nil, fmt.Errorf("no field %q; there are %s", field, strings.Join(fields(), ", "))
		}
		if other, twice := c[field]; twice {
			return nil, fmt.Errorf("field %s is mapped to %q and to %q", field, other, column)
		}
		c[field] = column
	}
	if len(c) == 0 {
		for _, field := range fields() {
			c[field] = field
		}
		return c, nil
	}
	for _, field := range []string{"timestamp", "user", "item"} {
		if c[field] == "" {
			return nil, fmt.Errorf("no column is mapped to %s", field)
		}
	}
	return c, nil
}

// Options say how to read a file.
type Options struct {
	Columns Columns
	// MinRating makes rows with a lower rating into skips at the start of the song; 0 takes every row as a play.
	MinRating float64
}

// BadRow is a row that cannot be used.
type BadRow struct {
	Line int
	Err  error
}

// Error names the line and the reason.
func (b BadRow) Error() string { return fmt.Sprintf("line %d: %v", b.Line, b.Err) }

// History is what a file holds, in order of time.
type History struct {
	Events []schemas.Event
	Bad    []BadRow

	songs map[string]*schemas.Song
}

// Catalogue returns the songs that the file implies, by id.
func (h *History) Catalogue() map[string]schemas.Song {
	out := make(map[string]schemas.Song, len(h.songs))
	for id, song := range h.songs {
		out[id] = *song
	}
	return out
}

// Read reads a CSV file with a header, or NDJSON: one object a line, whose first is told by its brace. Rows that cannot be used are in
// Bad; the error is about the file as a whole. A field may be mapped to several columns, joined with +: their values are joined with
// " – ".
func Read(in io.Reader, o Options) (*History, error) {
	r := &reader{options: o, namespace: namespace(), history: &History{songs: map[string]*schemas.Song{}}, position: map[string][]int{}}
	buffered := skipMark(in)
	read := r.table
	if head, err := buffered.Peek(1); err == nil && head[0] == '{' {
		read = r.objects
	}
	if err := read(buffered); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.history.Events, func(a, b schemas.Event) int { return cmp.Compare(a.At, b.At) })
	return r.history, nil
}

// skipMark skips the byte order mark that spreadsheets write.
func skipMark(in io.Reader) *bufio.Reader {
	const mark = "\ufeff"
	buffered := bufio.NewReader(in)
	if head, err := buffered.Peek(len(mark)); err == nil && string(head) == mark {
		_, _ = buffered.Discard(len(mark)) // they were just peeked at
	}
	return buffered
}

func newRows(in io.Reader) *csv.Reader {
	rows := csv.NewReader(in)
	rows.FieldsPerRecord = -1 // a short row is a bad row, not the end
	return rows
}

// table reads CSV.
func (r *reader) table(in *bufio.Reader) error {
	rows := newRows(in)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	if err := r.place(header); err != nil {
		return err
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok { // before asking for a field's place: such a row may have none
			r.history.Bad = append(r.history.Bad, BadRow{Line: parse.Line, Err: parse.Err})
			continue
		}
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		line, _ := rows.FieldPos(0)
		if err := r.row(row); err != nil {
			r.history.Bad = append(r.history.Bad, BadRow{Line: line, Err: err})
		}
	}
}

// objects reads NDJSON. Its header is what the columns name: an object without one of them has it empty.
func (r *reader) objects(in *bufio.Reader) error {
	var header []string
	for _, field := range slices.Sorted(maps.Keys(r.options.Columns)) {
		header = append(header, strings.Split(r.options.Columns[field], "+")...)
	}
	if err := r.place(header); err != nil {
		return err
	}
	row := make([]string, len(header))
	for line := 1; ; line++ {
		text, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading rows: %w", err)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			wrong := object(text, header, row)
			if wrong == nil {
				wrong = r.row(row)
			}
			if wrong != nil {
				r.history.Bad = append(r.history.Bad, BadRow{Line: line, Err: wrong})
			}
		}
		if err != nil {
			return nil //nolint:nilerr // the end of the file
		}
	}
}

// object fills a row with the values of a JSON object. A list becomes a|b|c.
func object(text []byte, header, row []string) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // lest a large id lose digits
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		return fmt.Errorf("decoding the line: %w", err)
	}
	for i, name := range header {
		switch v := values[name].(type) {
		case nil:
			row[i] = ""
		case []any:
			parts := make([]string, len(v))
			for k, part := range v {
				parts[k] = fmt.Sprint(part)
			}
			row[i] = strings.Join(parts, "|")
		default:
			row[i] = fmt.Sprint(v)
		}
	}
	return nil
}

type reader struct {
	options   Options
	history   *History
	namespace uuid.UUID
	position  map[string][]int // field to column numbers
}

func (r *reader) place(header []string) error {
	for _, field := range slices.Sorted(maps.Keys(r.options.Columns)) {
		required := field == "timestamp" || field == "user" || field == "item"
		for column := range strings.SplitSeq(r.options.Columns[field], "+") {
			n := slices.Index(header, column)
			if n >= 0 {
				r.position[field] = append(r.position[field], n)
			} else if required {
				return fmt.Errorf("the file has no column %q for %s; it has %s", column, field, strings.Join(header, ", "))
			}
		}
	}
	return nil
}

// text returns a field of a row, "" where it is not mapped or the row is short.
func (r *reader) text(row []string, field string) string {
	text := ""
	for _, n := range r.position[field] {
		if n >= len(row) {
			return ""
		}
		if text != "" {
			text += " – "
		}
		text += strings.TrimSpace(row[n])
	}
	return text
}

func (r *reader) number(row []string, field string, unknown int64) (int64, error) {
	text := r.text(row, field)
	if text == "" {
		return unknown, nil
	}
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil || v < 0 || v > schemas.MaxMillis {
		return 0, fmt.Errorf("%s is %q, want milliseconds", field, text)
	}
	return v, nil
}

func (r *reader) row(row []string) error {
	at, err := parseTime(r.text(row, "timestamp"))
	if err != nil {
		return err
	}
	user, item, artist := r.text(row, "user"), r.text(row, "item"), r.text(row, "artist")
	if user == "" || item == "" {
		return errors.New("user or item is empty")
	}
	if len(user) > schemas.MaxIDBytes {
		return fmt.Errorf("user has more than %d bytes", schemas.MaxIDBytes)
	}
	id := songID(item)
	e := schemas.Event{
		Kind: schemas.KindPlay, User: []byte(user), Song: []byte(id), At: at, PlayedMs: schemas.Unknown,
		DurationMs: schemas.Unknown, PositionMs: schemas.Unknown, Slot: schemas.Unknown,
	}
	if e.PlayedMs, err = r.number(row, "ms_played", schemas.Unknown); err != nil {
		return err
	}
	if e.DurationMs, err = r.number(row, "duration_ms", schemas.Unknown); err != nil {
		return err
	}
	if err := r.rate(&e, r.text(row, "rating")); err != nil {
		return err
	}
	if region := strings.ToUpper(r.text(row, "region")); len(region) == 2 {
		e.Region = [2]byte{region[0], region[1]}
	}
	name := strings.Join([]string{user, id, strconv.FormatInt(at, 10)}, "\x00")
	e.ID = schemas.EventID(uuid.NewSHA1(r.namespace, []byte(name)))
	r.history.Events = append(r.history.Events, e)
	r.imply(row, id, item, artist)
	return nil
}

// rate makes a row with a low rating into a skip.
func (r *reader) rate(e *schemas.Event, rating string) error {
	if rating == "" || r.options.MinRating == 0 {
		return nil
	}
	v, err := strconv.ParseFloat(rating, 64)
	if err != nil || !(v >= -1e9 && v <= 1e9) {
		return fmt.Errorf("rating is %q, want a number", rating)
	}
	if v < r.options.MinRating {
		e.Kind, e.PositionMs, e.PlayedMs = schemas.KindSkip, 0, 0
	}
	return nil
}

// imply notes what the row says about its song; the first row that says something wins.
func (r *reader) imply(row []string, id, item, artist string) {
	if _, known := r.history.songs[id]; known {
		return
	}
	title := r.text(row, "title")
	if title == "" {
		title = item
	}
	song := &schemas.Song{
		ID: schemas.SongID(id), Title: bounded(title), Artist: bounded(artist), Album: bounded(r.text(row, "album")),
		Language: r.text(row, "language"), Genres: split(r.text(row, "genres")),
	}
	r.history.songs[id] = song
}

// Describe reads what a second CSV file says about the items, under the names of the fields: item is required.
func (h *History) Describe(in io.Reader) error {
	rows := newRows(skipMark(in))
	header, err := rows.Read()
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	r := &reader{options: Options{Columns: Columns{}}, position: map[string][]int{}}
	for _, field := range fields() {
		if n := slices.Index(header, field); n >= 0 {
			r.position[field] = []int{n}
		}
	}
	if _, ok := r.position["item"]; !ok {
		return errors.New("the file has no column item")
	}
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading rows: %w", err)
		}
		song, known := h.songs[songID(r.text(row, "item"))]
		if !known {
			continue
		}
		for _, f := range []struct {
			field string
			dst   *string
		}{{"title", &song.Title}, {"artist", &song.Artist}, {"album", &song.Album}, {"language", &song.Language}} {
			if text := r.text(row, f.field); text != "" {
				*f.dst = bounded(text)
			}
		}
		if genres := split(r.text(row, "genres")); len(genres) > 0 {
			song.Genres = genres
		}
	}
}

// split takes a list apart: a|b|c or a;b;c.
func split(text string) []string {
	var out []string
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '|' || c == ';' }) {
		if part = strings.TrimSpace(part); part != "" && len(out) < schemas.MaxListEntries {
			out = append(out, bounded(part))
		}
	}
	return out
}

// songID is the id of an item: its name, and where that is too long its beginning with a hash of the whole.
func songID(item string) string {
	id := bounded(item)
	if len(item) <= schemas.MaxIDBytes {
		return id
	}
	sum := fmt.Sprintf("…%016x", xxhash.Sum64String(item))
	return strings.ToValidUTF8(id[:schemas.MaxIDBytes-len(sum)-utf8.UTFMax], "") + sum
}

// bounded cuts a text to the longest id, at a rune.
func bounded(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= schemas.MaxIDBytes {
		return text
	}
	cut := schemas.MaxIDBytes
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut]
}

// parseTime reads Unix seconds or milliseconds, RFC 3339, or a date with a time.
func parseTime(text string) (int64, error) {
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		if v < 1e11 {
			v *= 1000
		}
		return inRange(int64(v))
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return inRange(at.UnixMilli())
		}
	}
	return 0, fmt.Errorf("timestamp is %q, want Unix time or RFC 3339", text)
}

func inRange(at int64) (int64, error) {
	if at < schemas.MinAt || at >= schemas.MaxAt {
		return 0, errors.New("timestamp lies outside of the years 2000 to 2099")
	}
	return at, nil
}
