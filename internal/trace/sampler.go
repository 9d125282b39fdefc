package trace

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// samplerFromEnv reads the standard variables. The SDK does the same, but what it has
// read cannot be asked.
func samplerFromEnv(getenv func(string) string) (sdk.Sampler, error) {
	const nameVar, argVar = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	name, arg := strings.ToLower(strings.TrimSpace(getenv(nameVar))), strings.TrimSpace(getenv(argVar))
	if name == "" {
		name = "parentbased_always_on"
	}
	kind, byParent := strings.CutPrefix(name, "parentbased_")
	var s sdk.Sampler
	switch kind {
	case "always_on":
		s = sdk.AlwaysSample()
	case "always_off":
		s = sdk.NeverSample()
	case "traceidratio":
		share := 1.0
		if arg != "" {
			var err error
			if share, err = strconv.ParseFloat(arg, 64); err != nil || !(share >= 0 && share <= 1) { // NaN, too
				return nil, fmt.Errorf("%s=%q: want a share from 0 to 1, e.g. 0.01", argVar, arg)
			}
		}
		s = sdk.TraceIDRatioBased(share)
	default:
		return nil, fmt.Errorf("%s=%q: want always_on, always_off or traceidratio, or one of them after parentbased_", nameVar, name)
	}
	if byParent {
		s = sdk.ParentBased(s)
	}
	return s, nil
}

// begins tells whether a trace is sampled that would begin with a record. To ask costs a
// fraction of what a span does, even of one that is not recorded.
func (t *Tracer) begins(subject string) bool {
	if subject == "" { // its ID is drawn
		return true
	}
	return t.sampler.ShouldSample(sdk.SamplingParameters{ParentContext: context.Background(), TraceID: OfOrder(subject)}).Decision != sdk.Drop
}
