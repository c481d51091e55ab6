package dashboard

import (
	"embed"
	"net/http"
	"strings"

	"tune/internal/web"
)

//go:embed static
var static embed.FS

// servePage serves the page and what it is made of. The page is the same for every run: what is shown is behind the # of
// its address.
func servePage(mux *http.ServeMux) {
	for address, content := range map[string]string{
		"/static/uplot.js": web.UPlotJS, "/static/uplot.css": web.UPlotCSS,
		"/static/plots.js": web.PlotsJS, "/static/theme.css": web.ThemeCSS,
	} {
		mux.HandleFunc("GET "+address, func(w http.ResponseWriter, _ *http.Request) { writeFile(w, address, content) })
	}
	mux.HandleFunc("GET /static/{file}", func(w http.ResponseWriter, r *http.Request) {
		content, err := static.ReadFile("static/" + r.PathValue("file"))
		if err != nil {
			writeError(w, http.StatusNotFound, "no such page: "+r.URL.Path)
			return
		}
		writeFile(w, r.URL.Path, string(content))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		page, _ := static.ReadFile("static/page.html") // it is in the binary
		writeFile(w, ".html", string(page))
	})
}

// writeFile writes a file with the type that its name says. The system's table of types is not asked: it may be wrong.
func writeFile(w http.ResponseWriter, name, content string) {
	kind := "text/html; charset=utf-8"
	switch {
	case strings.HasSuffix(name, ".js"):
		kind = "text/javascript; charset=utf-8"
	case strings.HasSuffix(name, ".css"):
		kind = "text/css; charset=utf-8"
	case strings.HasSuffix(name, ".svg"):
		kind = "image/svg+xml"
	}
	w.Header().Set("Content-Type", kind)
	w.Write([]byte(content))
}
