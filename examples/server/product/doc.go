// Package product is the product that the reference server administers: plans and
// prices, subscriptions, credits, users and documents of its tenants, and [App], the
// few pages that a customer's user would see.
//
// Start with [New], which registers the three guarded actions of the oversight
// catalogue with real executors: [Service.ChangePlan], [Service.Credit] and
// [Service.Export]. Every host has such tables of its own; these show how its
// actions go through the guard.
//
// Tables: product_plan, product_price, product_subscription, product_credit,
// product_user, product_document, product_export.
package product
