package backtest_test

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"earworm/internal/backtest"
)

// fieldsOf collects the names under which JSON shows a type and what it is made of.
func fieldsOf(t reflect.Type, names map[string]bool) {
	switch t.Kind() { //nolint:exhaustive // the others have no fields
	case reflect.Pointer, reflect.Slice, reflect.Map:
		fieldsOf(t.Elem(), names)
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return
		}
		for field := range t.Fields() {
			names[field.Tag.Get("json")] = true
			fieldsOf(field.Type, names)
		}
	}
}

// TestReportIsDocumented: every field of the JSON report is explained.
func TestReportIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/benchmarks/quality.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n### What the report holds\n")
	if !found {
		t.Fatal("there is no section about the report")
	}
	section, _, _ = strings.Cut(section, "\n### ")
	names := map[string]bool{}
	fieldsOf(reflect.TypeFor[backtest.Report](), names)
	for name := range names {
		if name == "" || !strings.Contains(section, "`"+name+"`") {
			t.Errorf("the field %q is not explained", name)
		}
	}
	for _, name := range []string{"recall_at_30", "artist_gini", "by_mainstream", "seconds_per_week", "ceiling", "prequential_recall_at_30"} {
		if !names[name] {
			t.Errorf("the report has no %s", name)
		}
	}
}
