package backtest_test

import (
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"earworm/internal/backtest"
)

func TestPlot(t *testing.T) {
	t.Parallel()
	var models []string
	for days := range 13 { // one more than there are colours
		models = append(models, fmt.Sprintf("popularity:half_life=%d", days+1))
	}
	report, err := backtest.Run(t.Context(), checkerboard(t), backtest.Options{Models: models})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "charts")
	if err := backtest.Plot(dir, report); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"recall", "ndcg", "novelty"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		for _, model := range models {
			if !strings.Contains(string(text), model) {
				t.Errorf("%s.svg does not name %s", name, model)
			}
		}
		file, err := os.Open(filepath.Join(dir, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		if picture, err := png.Decode(file); err != nil || picture.Bounds().Dx() < 500 {
			t.Errorf("%s.png: %v", name, err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
	var out strings.Builder
	if err := backtest.Print(&out, report); err != nil {
		t.Fatal(err)
	}
	for _, model := range models {
		if strings.Count(out.String(), " "+model+" ") != 2 {
			t.Errorf("the tables do not name %s twice:\n%s", model, out.String())
		}
	}
}
