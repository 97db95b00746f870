package main

import (
	"bytes"
	"log"
	"os"

	"keepkey/page"
)

func main() {
	for _, s := range scenes() {
		var b, c bytes.Buffer
		if err := page.HTML(&b, s.view); err != nil {
			log.Fatal(err)
		}
		os.WriteFile("/tmp/page-html/"+s.name+".html", b.Bytes(), 0o644)
		if err := page.SVG(&c, s.view.Certificates[0].Timeline); err != nil {
			log.Fatal(err)
		}
		os.WriteFile("/tmp/page-html/"+s.name+".svg", c.Bytes(), 0o644)
	}
}
