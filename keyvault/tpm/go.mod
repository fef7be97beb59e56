module github.com/semio-iot/semio/keyvault/tpm

go 1.26.0

require (
	github.com/google/go-tpm v0.9.8
	github.com/semio-iot/semio v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/eclipse/paho.golang v0.23.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/semio-iot/semio => ../..
