import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'
import Component from './Component.vue'

test('it begins at its start', () => {
  expect(mount(Component, { props: { start: 3 } }).text()).toBe('36')
})

test('it begins at nought without one', () => {
  expect(mount(Component).text()).toBe('00')
})

test('a click adds one', async () => {
  const found = mount(Component, { props: { start: 3 } })
  await found.get('button').trigger('click')
  expect(found.text()).toBe('48')
})
