package metrics

import (
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Value is one series of a metric.
type Value struct {
	Labels map[string]string
	Value  float64
}

// Values returns the series of a counter or gauge of ours, by its name without
// the namespace, in the order of their labels.
func (m *Metrics) Values(name string) []Value {
	families, err := m.registry.Gather()
	if err != nil {
		return nil
	}
	var all []Value
	for _, f := range families {
		if strings.TrimPrefix(f.GetName(), namespace+"_") != name {
			continue
		}
		for _, s := range f.GetMetric() {
			all = append(all, Value{labelsOf(s), s.GetCounter().GetValue() + s.GetGauge().GetValue()})
		}
	}
	return all
}

func labelsOf(s *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, p := range s.GetLabel() {
		out[p.GetName()] = p.GetValue()
	}
	return out
}
