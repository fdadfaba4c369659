package backtest

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Print writes a report for people: first what each model scored as a whole, then where.
func Print(w io.Writer, r *Report) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s: %d events, %d listeners, %d items, %.1f weeks\n", r.Dataset.Name, r.Dataset.Events, r.Dataset.Listeners, r.Dataset.Items, r.Dataset.Weeks)
	fmt.Fprintf(&text, "%d weeks measured, %s to %s, %d listeners in them\n\n", r.Weeks, r.Protocol.First.Format(time.DateOnly), r.Protocol.Last.Format(time.DateOnly), r.People)
	whole := tabwriter.NewWriter(&text, 0, 8, 2, ' ', tabwriter.AlignRight)
	row(whole, "model", "recall@30", "±", "NDCG@30", "±", "hit rate", "daily", "coverage", "pop. pct", "artist Gini", "CPU s/week", "ms/list")
	if c := r.Ceiling; c != nil {
		row(whole, "(the truth)", share(c.Recall), share(c.RecallSE), share(c.NDCG), "", "", "", "", "", "", "", "")
	}
	for _, name := range r.Order {
		m := r.Models[name]
		artists := "–"
		if m.Gini != nil {
			artists = fmt.Sprintf("%.3f", *m.Gini)
		}
		daily := "–"
		if m.Prequential != nil {
			daily = share(*m.Prequential)
		}
		row(whole, name, share(m.Recall), share(m.RecallSE), share(m.NDCG), share(m.NDCGSE), fmt.Sprintf("%.3f", m.HitRate), daily,
			fmt.Sprintf("%.3f", m.Coverage), fmt.Sprintf("%.3f", m.Percentile), artists, fmt.Sprintf("%.3f", m.SecondsPerWeek),
			fmt.Sprintf("%.3f", m.RankMillis))
	}
	if err := whole.Flush(); err != nil {
		return err
	}
	for _, name := range r.Order {
		printParts(&text, name, r.Models[name].ByPart)
	}
	text.WriteString("\nrecall@30 by age of the song at the freeze, by different items the listener knew, and by how mainstream they were\n")
	parts := tabwriter.NewWriter(&text, 0, 8, 2, ' ', tabwriter.AlignRight)
	row(parts, append([]string{"model", "< 7 d", "< 28 d", "older", "not out", "0–3", "4–20", "more"}, mainstreamNames...)...)
	for _, name := range r.Order {
		m := r.Models[name]
		cells := []string{name}
		for _, part := range []struct {
			names  []string
			values map[string]SegmentReport
		}{{ageNames, m.ByAge}, {historyNames, m.ByHistory}, {mainstreamNames, m.ByMainstream}} {
			for _, segment := range part.names {
				if s, ok := part.values[segment]; ok {
					cells = append(cells, share(s.Recall))
				} else {
					cells = append(cells, "–")
				}
			}
		}
		row(parts, cells...)
	}
	if err := parts.Flush(); err != nil {
		return err
	}
	_, err := w.Write(text.Bytes())
	return err
}

// printParts says on what a model spends the time of learning a week, the most first.
func printParts(text *bytes.Buffer, model string, parts map[string]float64) {
	if len(parts) == 0 {
		return
	}
	names := slices.SortedFunc(maps.Keys(parts), func(a, b string) int { return cmp.Or(cmp.Compare(parts[b], parts[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %.3f", name, parts[name])
	}
	fmt.Fprintf(text, "\n%s, CPU s/week: %s\n", model, strings.Join(names, ", "))
}

func share(v float64) string { return fmt.Sprintf("%.4f", v) }

// row writes one line; a tabwriter that aligns right wants a tab after each cell.
func row(w io.Writer, cells ...string) {
	_, _ = fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") // Flush tells
}
