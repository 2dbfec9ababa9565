// Verifies deliveries with the libraries of Standard Webhooks and Svix.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"
)

type delivery struct {
	Kind    string            `json:"kind"`
	Secret  string            `json:"secret"`
	Body    string            `json:"body"`
	Headers map[string]string `json:"headers"`
}

func verify(one delivery) []error {
	headers := http.Header{}
	for name, value := range one.Headers {
		headers.Set(name, value)
	}
	standard, err := standardwebhooks.NewWebhook(one.Secret)
	if err != nil {
		return []error{err}
	}
	other, err := svix.NewWebhook(one.Secret)
	if err != nil {
		return []error{err}
	}
	var found []error
	for _, verify := range []func([]byte, http.Header) error{standard.Verify, other.Verify} {
		if err := verify([]byte(one.Body), headers); err != nil {
			found = append(found, err)
		}
	}
	return found
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	var deliveries []delivery
	if err := json.Unmarshal(text, &deliveries); err != nil {
		panic(err)
	}
	refused := 0
	for _, one := range deliveries {
		for _, err := range verify(one) {
			refused++
			fmt.Println(one.Kind, err)
		}
	}
	fmt.Println(len(deliveries), "deliveries,", refused, "refusals")
	if refused > 0 || len(deliveries) == 0 {
		os.Exit(1)
	}
}
