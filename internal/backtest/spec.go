package backtest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ProductionName is what Options.Models calls the production model.
const ProductionName = "earworm"

// Spec is a model with its parameters.
type Spec struct {
	// Text is what it was parsed from, and how the report calls the model.
	Text   string
	name   string
	params params
}

// params are the parameters of a baseline, by name.
type params map[string]float64

// baseline is a model that others have published.
type baseline struct {
	defaults params
	make     func(b base, p params) Model
}

// Names lists the models with their parameters and defaults, one each, in order; production may be nil.
func Names(production *Production) []string {
	var out []string
	if production != nil {
		out = append(out, ProductionName+parameters(production.Parameters))
	}
	all := baselines()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, name+parameters(all[name].defaults))
	}
	return out
}

func parameters(p params) string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&text, ":%s=%v", key, p[key])
	}
	return text.String()
}

// Parse reads name[:parameter=value]... production may be nil.
func Parse(text string, production *Production) (Spec, error) {
	parts := strings.Split(text, ":")
	s := Spec{Text: text, name: parts[0]}
	var defaults params
	if s.name == ProductionName {
		if production == nil {
			return s, fmt.Errorf("this program has no %s", ProductionName)
		}
		defaults = production.Parameters
	} else {
		known, ok := baselines()[s.name]
		if !ok {
			return s, fmt.Errorf("there is no model %q; there are %s, and %s", s.name, strings.Join(slices.Sorted(maps.Keys(baselines())), ", "), ProductionName)
		}
		defaults = known.defaults
	}
	s.params = maps.Clone(defaults)
	for _, part := range parts[1:] {
		key, value, _ := strings.Cut(part, "=")
		if _, ok := defaults[key]; !ok {
			return s, fmt.Errorf("%s has no parameter %q; it has %q", s.name, key, slices.Sorted(maps.Keys(defaults)))
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
			return s, fmt.Errorf("%s: %s is %q, want a number that is not negative", s.name, key, value)
		}
		s.params[key] = v
	}
	return s, nil
}

func (s Spec) model(d *Dataset, o Options) (Model, error) {
	if s.name == ProductionName {
		return o.Production.New(d, o, s.Text, s.params)
	}
	return baselines()[s.name].make(newBase(s.Text, d, o.Seed), s.params), nil
}

// DefaultModels is every baseline once, iALS also with decayed counts, decayed popularity at three half-lives, and the production
// model where there is one.
func DefaultModels(production bool) []string {
	var names []string
	if production {
		names = append(names, ProductionName)
	}
	for _, name := range slices.Sorted(maps.Keys(baselines())) {
		switch name {
		case "popularity":
			names = append(names, "popularity:half_life=3", "popularity:half_life=7", "popularity:half_life=28")
		case "ials":
			names = append(names, "ials", "ials:alpha=0.01:half_life=28")
		default:
			names = append(names, name)
		}
	}
	return names
}

// baselines are all there are.
func baselines() map[string]baseline {
	return map[string]baseline{
		"affinity":          {params{"beta": 1, "epsilon": .003, "half_life": 28, "taste": 30}, newAffinity},
		"bpr":               {params{"epochs": 20, "factors": 64, "init": .1, "lambda": .03, "rate": .1}, newBPR},
		"cooccurrence":      {params{"gamma": .9, "half_life": 90, "latest": 60, "neighbours": 100, "shrink": 20, "taste": 60, "window": 30}, newCooccurrence},
		"ials":              {params{"alpha": .03, "factors": 64, "half_life": 0, "lambda": .03, "nu": 1, "sweeps": 10}, newIALS},
		"isgd":              {params{"factors": 64, "init": .01, "lambda": .1, "passes": 4, "queue": 0, "rate": .1}, newISGD},
		"knn-bm25":          {params{"b": 0, "half_life": 28, "k1": .5, "neighbours": 400}, newKNN(bm25)},
		"knn-cosine":        {params{"half_life": 0, "neighbours": 400}, newKNN(cosine)},
		"knn-tfidf":         {params{"half_life": 28, "neighbours": 400}, newKNN(tfidf)},
		"popularity":        {params{"every": 0, "half_life": 7}, newPopularity},
		"popularity-region": {params{"half_life": 7, "world": .1}, newRegional},
		"raisgd":            {params{"factors": 64, "init": .01, "lambda": .1, "passes": 4, "queue": 1, "rate": .1}, newISGD},
		"random":            {params{}, newRandom},
	}
}
