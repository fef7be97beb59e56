package appgw

import "github.com/semio-iot/semio/e2e"

func OpenEpochs(s Store, b e2e.BindingID) e2e.Epochs { return newEpochs(s, b) }
