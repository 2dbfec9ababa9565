import { defineConfig } from "vitest/config";

// One browser and one wahook for all: the steps follow each other, and the first that fails ends the run.
export default defineConfig({
  test: {
    include: ["browser/**/*.test.ts"],
    testTimeout: 300_000,
    hookTimeout: 180_000,
    bail: 1,
    fileParallelism: false,
    expect: { poll: { timeout: 90_000, interval: 100 } },
  },
});
