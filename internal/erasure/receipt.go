package erasure

import "time"

// Receipt says what an erasure reached. It names nobody: whoever keeps it beside a request has to note its id there.
type Receipt struct {
	ID          string    `json:"receipt_id"`
	Application string    `json:"application"`
	RequestedAt time.Time `json:"requested_at"`
	// EffectiveAt is when every role had taken the erasure in, VerifiedAt when the topics had been read after it.
	EffectiveAt *time.Time `json:"effective_at,omitempty"`
	VerifiedAt  time.Time  `json:"verified_at"`
	// Complete says that the reading found nothing of the listener that still counts.
	Complete bool `json:"complete"`
	// Rounds is how often the erasure was asked for: more than once if events came in late.
	Rounds int     `json:"rounds"`
	Places []Place `json:"places"`
	// Limits are what an erasure does not reach, in words.
	Limits []string `json:"limits"`
}

// Place is what happened in one place.
type Place struct {
	Place string `json:"place"`
	What  string `json:"what"`
	// Found is what counted before, Left what still does.
	Found int `json:"found"`
	Left  int `json:"left"`
	// Remaining are records that no longer count, or never did, and that are not out of the log yet; the last of them is by GoneBy.
	Remaining int `json:"remaining"`
	// GoneBy is empty if nothing remains, or if the settings of the topic set no bound (then Unbounded).
	GoneBy    *time.Time `json:"gone_by,omitempty"`
	Unbounded bool       `json:"unbounded,omitempty"`
	// KeyGoneBy is when the null, which has the listener's key, goes too.
	KeyGoneBy *time.Time `json:"key_gone_by,omitempty"`
	Note      string     `json:"note,omitempty"`
}

// limits are the same in every receipt.
var limits = []string{
	"Factors: first listens are taken out of the popularity of songs (of the days on which a song was heard, the first and the last), and pairs out of their neighbours " +
		"(on average, where pairs of popular songs were drawn). What gradient steps moved in the vectors of songs stays: later steps of others have built on it. Rows name no listener.",
	"Plays: how often a song was played is a sum over everybody, and stays.",
	"Trends: the counts of listens by region and five minutes name nobody and fade within days.",
	"Events that the listener's devices send after the erasure are those of somebody new.",
	"Copies that others made of the topics, and backups, are out of reach.",
}
