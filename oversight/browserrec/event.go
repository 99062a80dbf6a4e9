package browserrec

import "encoding/json"

// The kinds of event that a browser may report. Everything else is thrown away.
const (
	evReady    = 0 // the document is there
	evLoad     = 1 // with all that belongs to it
	evSnapshot = 2 // the whole page
	evChange   = 3 // what changed, by source
	evMeta     = 4 // address and size
)

// The sources of a change.
const (
	srcMutation    = 0
	srcMouseMove   = 1
	srcInteraction = 2
	srcScroll      = 3
	srcResize      = 4
	srcInput       = 5
	srcTouchMove   = 6
	srcMedia       = 7
	srcRule        = 8
	srcDrag        = 12
	srcDeclaration = 13
	srcSelection   = 14
	srcAdopted     = 15
	srcCustom      = 16
)

// event is one event with nothing in it but what is named here: decoding and encoding
// again leaves out whatever else a browser sends.
type event struct {
	Type int             `json:"type"`
	At   int64           `json:"timestamp"` // milliseconds, by the browser's clock
	Data json.RawMessage `json:"data"`
}

type metaData struct {
	Href   string  `json:"href"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
}

type snapshotData struct {
	Node   *node  `json:"node"`
	Offset offset `json:"initialOffset"`
}

type offset struct {
	Top  float64 `json:"top"`
	Left float64 `json:"left"`
}

// The types of node.
const (
	nodeDocument = 0
	nodeDoctype  = 1
	nodeElement  = 2
	nodeText     = 3
	nodeCDATA    = 4
	nodeComment  = 5
)

type node struct {
	Type     int            `json:"type"`
	ID       int64          `json:"id"`
	RootID   int64          `json:"rootId,omitempty"`
	Name     string         `json:"name,omitempty"`     // of a doctype
	PublicID string         `json:"publicId,omitempty"` // always emptied
	SystemID string         `json:"systemId,omitempty"`
	Tag      string         `json:"tagName,omitempty"`
	Attr     map[string]any `json:"attributes,omitempty"`
	Children []*node        `json:"childNodes,omitempty"`
	Text     string         `json:"textContent,omitempty"`
	SVG      bool           `json:"isSVG,omitempty"`
	Block    bool           `json:"needBlock,omitempty"`
	Host     bool           `json:"isShadowHost,omitempty"`
	Shadow   bool           `json:"isShadow,omitempty"`
}

type source struct {
	Source int `json:"source"`
}

type mutation struct {
	source
	Texts []struct {
		ID    int64  `json:"id"`
		Value string `json:"value"`
	} `json:"texts"`
	Attrs []struct {
		ID   int64          `json:"id"`
		Attr map[string]any `json:"attributes"`
	} `json:"attributes"`
	Removes []struct {
		Parent int64 `json:"parentId"`
		ID     int64 `json:"id"`
	} `json:"removes"`
	Adds []addition `json:"adds"`
}

type addition struct {
	Parent int64  `json:"parentId"`
	Next   *int64 `json:"nextId"`
	Node   *node  `json:"node"`
}

type positions struct {
	source
	Positions []struct {
		X      float64 `json:"x"`
		Y      float64 `json:"y"`
		ID     int64   `json:"id"`
		Offset float64 `json:"timeOffset"`
	} `json:"positions"`
}

type interaction struct {
	source
	Type    int     `json:"type"`
	ID      int64   `json:"id"`
	X       float64 `json:"x"`
	Y       float64 `json:"y"`
	Pointer int     `json:"pointerType,omitempty"`
}

type place struct { // of a scroll, a size, or a medium
	source
	ID     int64   `json:"id,omitempty"`
	X      float64 `json:"x,omitempty"`
	Y      float64 `json:"y,omitempty"`
	Width  float64 `json:"width,omitempty"`
	Height float64 `json:"height,omitempty"`
	Type   int     `json:"type,omitempty"`
}

type input struct {
	source
	ID      int64  `json:"id"`
	Text    string `json:"text"`
	Checked bool   `json:"isChecked"`
}

type selection struct {
	source
	Ranges []struct {
		Start       int64 `json:"start"`
		StartOffset int64 `json:"startOffset"`
		End         int64 `json:"end"`
		EndOffset   int64 `json:"endOffset"`
	} `json:"ranges"`
}
