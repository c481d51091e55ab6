package dashboard

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkAPI is what the server takes for a list of 100 runs of 10,000 steps, and for the curves of one.
func BenchmarkAPI(b *testing.B) {
	s := New(bigDatabase(b, 100, 10_000).Path())
	defer s.source.close()
	handler := s.Handler(80)
	for _, tc := range []struct{ name, address, want string }{
		{"list", "/api/runs", `"steps_done":10000`},
		{"thinned", "/api/runs/run-007/steps", `"steps":10000,"thinned":true`},
		{"full", "/api/runs/run-007/steps?full=1", `"steps":10000,"thinned":false`},
	} {
		b.Run(tc.name, func(b *testing.B) {
			size := 0
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, tc.address, nil)
				r.Host = "localhost"
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, r)
				if size = w.Body.Len(); !strings.Contains(w.Body.String(), tc.want) {
					b.Fatalf("status %d: %.200s", w.Code, w.Body)
				}
			}
			b.ReportMetric(float64(size)/1e3, "kB")
		})
	}
}
