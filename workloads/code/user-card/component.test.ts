import { mount } from '@vue/test-utils'
import { expect, test } from 'vitest'
import Component from './Component.vue'

const user = { id: 7, name: 'Ada Lovelace', email: 'ada@example.org' }

test('it shows initials, name and address', () => {
  const found = mount(Component, { props: { user } })
  expect(found.get('span').text()).toBe('AL')
  expect(found.get('a').attributes('href')).toBe('mailto:ada@example.org')
})

test('compact, it shows initials alone', () => {
  expect(mount(Component, { props: { user, compact: true } }).text()).toBe('AL')
})

test('a click tells who it was', async () => {
  const found = mount(Component, { props: { user } })
  await found.trigger('click')
  expect(found.emitted('select')).toEqual([[7]])
})
